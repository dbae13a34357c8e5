"""Admin pages of usage, audit and administrative changes: all of them only read."""

from __future__ import annotations

from django.contrib.admin import display
from django.utils.translation import gettext_lazy as _

from inference_worker.admin_base import ReadOnlyAdmin
from tenants.models import AdminAudit, AuditRecord, UsageRecord


class UsageAdmin(ReadOnlyAdmin[UsageRecord]):
    """What requests have used."""

    list_display = (
        "started_at",
        "tenant",
        "model",
        "outcome",
        "prompt_tokens",
        "completion_tokens",
        "total_s",
        "state",
    )
    list_filter = ("state", "outcome", "tenant")
    list_select_related = ("tenant", "key")
    search_fields = ("request_id", "correlation_id")
    date_hierarchy = "started_at"
    show_full_result_count = False
    readonly_fields = ("speed",)

    @display(description=_("tokens per second"))
    def speed(self, record: UsageRecord) -> str:
        """Speed of generation at the engine."""
        return "-" if record.tokens_per_s is None else f"{record.tokens_per_s:.1f}"


class AuditAdmin(ReadOnlyAdmin[AuditRecord]):
    """API requests, refused ones too."""

    list_display = ("at", "tenant", "key_prefix", "client_ip", "endpoint", "model", "status", "outcome")
    list_filter = ("outcome", "tenant")
    list_select_related = ("tenant", "key")
    search_fields = ("request_id", "correlation_id", "key_prefix")
    date_hierarchy = "at"
    show_full_result_count = False


class AdminAuditAdmin(ReadOnlyAdmin[AdminAudit]):
    """Who changed what from what to what."""

    list_display = ("at", "actor", "action", "object_name", "before", "after")
    list_filter = ("action",)
    search_fields = ("actor", "object_id", "object_name")
    date_hierarchy = "at"
