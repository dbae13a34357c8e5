"""Read-only admin pages of usage records, audit records and administrative changes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar, cast

from django.contrib.admin import ShowFacets, display
from django.db.models import Field, Model, QuerySet
from django.http import HttpRequest
from django.utils.html import format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _
from typing_extensions import override
from unfold.contrib.filters.admin import AutocompleteSelectFilter

from backoffice.admin_base import ReadOnlyAdmin, label_column
from tenants.choices import RecordOutcome
from tenants.models import AdminAudit, AuditRecord, UsageRecord
from tenants.selectors import admin_changes_with_tenant

if TYPE_CHECKING:
    from django_stubs_ext import StrOrPromise

    class ChangeWithTenant(AdminAudit):
        """A change annotated with the short name of its tenant."""

        tenant_slug: str | None


# ISO times in the audit trail; pages show them to the second.
UTC_TIME = re.compile(r"^(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)(?:\.\d+)?\+00:00$")
R = TypeVar("R", UsageRecord, AuditRecord)
COLOURS: dict[str, str] = {
    RecordOutcome.PENDING: "info",
    RecordOutcome.COMPLETED: "success",
    RecordOutcome.CANCELLED: "warning",
    RecordOutcome.REFUSED: "warning",
    RecordOutcome.FAILED: "danger",
    RecordOutcome.LOST: "danger",
}


def seconds(model: type[Model], name: str) -> Callable[[Any, Model], str]:
    """Return an admin column that shows a duration to the millisecond."""

    @display(description=cast("Field[Any, Any]", model._meta.get_field(name)).verbose_name, ordering=name)
    def column(_page: Any, record: Model) -> str:
        value = getattr(record, name)
        return "-" if value is None else f"{value:.3f}"

    return column


class RecordAdmin(ReadOnlyAdmin[R]):
    """Admin pages of request records."""

    list_filter_submit = True
    list_select_related = ("tenant",)
    # The tables are large: avoid counts that nobody requested.
    show_full_result_count = False
    show_facets = ShowFacets.NEVER

    @label_column(_("outcome"), COLOURS, ordering="outcome")
    def outcome_label(self, record: R) -> tuple[str, StrOrPromise]:
        """Return the outcome and its label."""
        return record.outcome, record.get_outcome_display()


class UsageAdmin(RecordAdmin[UsageRecord]):
    """Usage records of requests."""

    first_token = seconds(UsageRecord, "first_token_s")
    total = seconds(UsageRecord, "total_s")
    queued = seconds(UsageRecord, "queue_s")
    engine_first_token = seconds(UsageRecord, "engine_first_token_s")
    engine_total = seconds(UsageRecord, "engine_total_s")

    list_display = (
        "started_at",
        "tenant",
        "model",
        "outcome_label",
        "prompt_tokens",
        "completion_tokens",
        "first_token",
        "total",
    )
    list_filter = ("outcome", "state", ("tenant", AutocompleteSelectFilter))
    search_fields = ("request_id__exact", "correlation_id__exact")
    search_help_text = _("Complete request or correlation id")
    date_hierarchy = "started_at"
    readonly_fields = ("first_token", "total", "queued", "engine_first_token", "engine_total", "speed")
    fieldsets = (
        (None, {"fields": ("request_id", "correlation_id", "tenant", "key")}),
        (_("Request"), {"fields": ("model", "endpoint", "streamed")}),
        (_("Result"), {"fields": ("outcome", "status", "error_code", "state", "settled_at", "updated_at")}),
        (_("Tokens"), {"fields": ("prompt_tokens", "cached_tokens", "completion_tokens", "meter_source")}),
        (
            _("Times"),
            {
                "fields": (
                    *("started_at", "ended_at", "queued", "first_token", "total"),
                    *("engine_first_token", "engine_total", "speed"),
                )
            },
        ),
        (
            _("Gateway and worker"),
            {"fields": ("gateway_id", "worker_id", "attempt", "metered_attempt", "attempts")},
        ),
    )

    @display(description=_("tokens per second"))
    def speed(self, record: UsageRecord) -> str:
        """Return the generation speed at the engine."""
        return "-" if record.tokens_per_s is None else f"{record.tokens_per_s:.1f}"


class AuditAdmin(RecordAdmin[AuditRecord]):
    """Audit records of API requests, refused requests included."""

    duration = seconds(AuditRecord, "duration_s")

    list_display = (
        *("at", "tenant", "key_prefix", "client_ip", "endpoint", "model"),
        *("status", "outcome_label", "error_code"),
    )
    list_filter = ("outcome", ("tenant", AutocompleteSelectFilter))
    search_fields = ("request_id__exact", "correlation_id__exact", "key_prefix__exact")
    search_help_text = _("Complete request id, correlation id or key prefix")
    date_hierarchy = "at"
    readonly_fields = ("duration",)
    fieldsets = (
        (None, {"fields": ("at", "request_id", "correlation_id", "tenant", "key", "key_prefix")}),
        (_("Request"), {"fields": ("client_ip", "method", "endpoint", "model")}),
        (_("Result"), {"fields": ("outcome", "status", "error_code", "duration")}),
    )


class AdminAuditAdmin(ReadOnlyAdmin[AdminAudit]):
    """Administrative changes: actor, action, object and differences."""

    list_display = ("at", "actor", "action", "object_name", "tenant_name", "changes")
    list_filter = ("action",)
    search_fields = ("actor", "object_id", "object_name")
    search_help_text = _("Actor, object or object id")
    date_hierarchy = "at"
    fields = ("at", "actor", "action", "object_name", "object_id", "tenant_name", "tenant_id", "changes")
    readonly_fields = ("at", "tenant_name", "changes")

    @override
    def get_queryset(self, request: HttpRequest) -> QuerySet[AdminAudit]:
        """Annotate changes with the names of their tenants."""
        return admin_changes_with_tenant().order_by("-id")

    @display(description=_("tenant"), ordering="tenant_slug", empty_value="-")
    def tenant_name(self, change: ChangeWithTenant) -> str | None:
        """Return the tenant's short name."""
        return change.tenant_slug

    @display(description=_("changes"), empty_value="-")
    def changes(self, change: AdminAudit) -> SafeString | None:
        """Return one line per changed value."""
        lines = change_lines(change)
        return format_html_join("", "<div>{}</div>", ((line,) for line in lines)) if lines else None


def change_lines(change: AdminAudit) -> list[str]:
    """Return ``name: before → after`` lines, or the non-empty values if the object was created or removed."""
    before, after = change.before, change.after
    if before is not None and after is not None:
        return [f"{name}: {_format(before.get(name))} → {_format(after[name])}" for name in after]
    values = after or before or {}
    return [f"{name}: {_format(value)}" for name, value in values.items() if value not in (None, "", [])]


def _format(value: object) -> str:
    if isinstance(value, str) and value:
        return UTC_TIME.sub(r"\1 \2", value)
    if isinstance(value, list) and value:
        return ", ".join(map(_format, value))
    return "-" if value in (None, "", []) else json.dumps(value, ensure_ascii=False)
