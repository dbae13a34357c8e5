"""Admin pages of the attempts, events and checkpoints of jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from django.contrib.admin import ShowFacets, display
from django.db.models import Model
from django.utils.translation import gettext_lazy as _

from backoffice.admin_base import (
    ReadOnlyAdmin,
    label_column,
)
from backoffice.display.json_display import json_display
from backoffice.list_filters import RelatedRowFilter
from training.choices import AttemptOutcome, EventLevel
from training.models import JobAttempt, JobEvent

if TYPE_CHECKING:
    from django_stubs_ext import StrOrPromise

OUTCOME_COLOURS: dict[str, str] = {
    AttemptOutcome.RUNNING: "info",
    AttemptOutcome.SUCCEEDED: "success",
    AttemptOutcome.FAILED: "danger",
    AttemptOutcome.CANCELLED: "warning",
    AttemptOutcome.PAUSED: "warning",
    AttemptOutcome.RELEASED: "info",
    AttemptOutcome.LOST: "danger",
}
LEVEL_COLOURS: dict[str, str] = {
    EventLevel.INFO: "info",
    EventLevel.WARN: "warning",
    EventLevel.ERROR: "danger",
}


class JobRowAdmin(ReadOnlyAdmin[Any]):
    """Rows that belong to a job."""

    tenant_path = "job__tenant_id"
    list_filter: ClassVar[Any] = (("job__tenant", RelatedRowFilter),)
    list_filter_submit = True
    list_select_related = ("job__tenant",)
    show_full_result_count = False
    show_facets = ShowFacets.NEVER
    search_fields: ClassVar[Any] = ("job__id__exact",)
    search_help_text = _("Complete job id")

    @display(description=_("tenant"), ordering="job__tenant")
    def tenant(self, row: Any) -> Model:
        """Return the tenant of the job."""
        tenant: Model = row.job.tenant
        return tenant


class JobAttemptAdmin(JobRowAdmin):
    """Attempts of jobs."""

    list_display = (
        "job",
        "number",
        "tenant",
        "outcome_label",
        "worker_id",
        "claimed_at",
        "ended_at",
        "error_code",
    )
    ordering = ("-claimed_at",)
    fields = (
        *("id", "job", "number", "outcome", "worker_id", "claimed_at", "lease_until", "ended_at"),
        *("error_code", "error_message"),
    )

    @label_column(_("outcome"), OUTCOME_COLOURS, ordering="outcome")
    def outcome_label(self, attempt: JobAttempt) -> tuple[str, StrOrPromise]:
        """Return the outcome and its label."""
        return attempt.outcome, AttemptOutcome(attempt.outcome).label


class JobEventAdmin(JobRowAdmin):
    """Events of jobs."""

    list_display = ("at", "job", "number", "tenant", "level_label", "message")
    list_filter = ("level", "type", ("job__tenant", RelatedRowFilter))
    ordering = ("-id",)
    fields = ("job", "number", "at", "level", "type", "message", "data_text")
    readonly_fields = ("data_text",)
    data_text = json_display("data", _("data"))

    @label_column(_("level"), LEVEL_COLOURS, ordering="level")
    def level_label(self, event: JobEvent) -> tuple[str, StrOrPromise]:
        """Return the level and its label."""
        return event.level, EventLevel(event.level).label


class JobCheckpointAdmin(JobRowAdmin):
    """Checkpoints of jobs."""

    list_display = ("id", "job", "tenant", "step", "is_best", "created_at")
    ordering = ("-created_at",)
    search_fields = ("id__exact", "job__id__exact")
    search_help_text = _("Complete checkpoint or job id")
    fields = ("id", "job", "step", "folder", "metrics_text", "is_best", "created_at")
    readonly_fields = ("metrics_text",)
    metrics_text = json_display("metrics", _("metrics"))
