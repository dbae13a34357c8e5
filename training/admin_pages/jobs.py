"""The admin page of fine-tuning jobs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from django.contrib import messages
from django.contrib.admin import ShowFacets, display
from django.core.exceptions import PermissionDenied
from django.forms import ModelForm
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.translation import gettext_lazy as _
from typing_extensions import override

from backoffice.admin_base import AuditedAdmin, actor_of, label_column, page_action
from backoffice.display.json_display import json_display
from backoffice.list_filters import RelatedRowFilter
from training.choices import JobStatus
from training.jobs import services
from training.jobs.refusal_texts import refusal_text
from training.jobs.transition_errors import JobTransitionError
from training.models import FineTuningJob

if TYPE_CHECKING:
    from django_stubs_ext import StrOrPromise

STATUS_COLOURS: dict[str, str] = {
    JobStatus.VALIDATING_FILES: "info",
    JobStatus.QUEUED: "info",
    JobStatus.RUNNING: "info",
    JobStatus.PAUSED: "warning",
    JobStatus.SUCCEEDED: "success",
    JobStatus.FAILED: "danger",
    JobStatus.CANCELLED: "warning",
}
JSON_TEXTS = ("hyperparameters_text", "resolved_text", "options_text", "metadata_text", "result_text")


class FineTuningJobAdmin(AuditedAdmin[FineTuningJob]):
    """Jobs: created by the API and commands, controlled by their tenant's managers."""

    audit_kind = "job"
    tenant_path = "tenant_id"
    list_display = (
        *("id", "tenant", "status_label", "phase", "progress", "priority", "base_model"),
        *("created_at", "fine_tuned_model"),
    )
    list_filter = ("status", "method", "worker_class", ("tenant", RelatedRowFilter))
    list_filter_submit = True
    list_select_related = ("tenant",)
    show_full_result_count = False
    show_facets = ShowFacets.NEVER
    search_fields = ("id__exact", "correlation_id__exact", "fine_tuned_model")
    search_help_text = _("Complete job or correlation id, or name of the model")
    actions_detail = ("cancel", "pause", "resume")
    fieldsets = (
        (None, {"fields": ("id", "tenant", "created_by", "status", "phase", "requested_action")}),
        (
            _("Request"),
            {
                "fields": (
                    *("base_model", "suffix", "method", "training_file", "validation_file", "seed"),
                    *("source_checkpoint", "hyperparameters_text", "resolved_text", "options_text"),
                    "metadata_text",
                )
            },
        ),
        (_("Queue"), {"fields": ("priority", "worker_class", "queued_at", "not_before", "attempt_count")}),
        (
            _("Progress"),
            {"fields": ("progress", "trained_tokens", "started_at", "estimated_finish", "finished_at")},
        ),
        (
            _("Result"),
            {
                "fields": (
                    *("fine_tuned_model", "artifact_sha256", "result_text"),
                    *("error_code", "error_message", "error_param", "correlation_id"),
                )
            },
        ),
    )

    hyperparameters_text = json_display("hyperparameters", _("hyperparameters"))
    resolved_text = json_display("resolved", _("hyperparameters in effect"))
    options_text = json_display("options", _("options"))
    metadata_text = json_display("metadata", _("metadata"))
    result_text = json_display("result", _("result"))

    @label_column(_("status"), STATUS_COLOURS, ordering="status")
    def status_label(self, job: FineTuningJob) -> tuple[str, StrOrPromise]:
        """Return the status and its label."""
        return job.status, JobStatus(job.status).label

    @display(description=_("progress"), empty_value="-")
    def progress(self, job: FineTuningJob) -> str | None:
        """Return the step and the number of steps."""
        return f"{job.step}/{job.total_steps}" if job.total_steps else None

    @override
    def get_readonly_fields(self, request: HttpRequest, obj: FineTuningJob | None = None) -> tuple[str, ...]:
        """Return all fields: the buttons change jobs, not the form."""
        return ("progress", *JSON_TEXTS, *(field.name for field in FineTuningJob._meta.fields))

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> Any:
        """Show the job without buttons to save it."""
        buttons = {"show_save": False, "show_save_and_continue": False, "show_save_and_add_another": False}
        return super().changeform_view(request, object_id, form_url, buttons | (extra_context or {}))

    @override
    def save_model(
        self, request: HttpRequest, obj: FineTuningJob, form: ModelForm[FineTuningJob], change: bool
    ) -> None:
        """Save nothing."""

    @override
    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    @override
    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    @page_action("cancel", _("Cancel"), icon="cancel")
    def cancel(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask for confirmation, then cancel the job."""
        text = _("The job ends within seconds. This cannot be undone.")
        return self._act(request, object_id, services.job_cancel, _("Cancel this job"), text, danger=True)

    @page_action("pause", _("Pause"), icon="pause")
    def pause(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask for confirmation, then pause the job."""
        text = _("The job saves a checkpoint at its next step and leaves its worker.")
        return self._act(request, object_id, services.job_pause, _("Pause this job"), text)

    @page_action("resume", _("Resume"), icon="play_arrow")
    def resume(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask for confirmation, then resume the job."""
        text = _("The job is queued and continues from its last checkpoint.")
        return self._act(request, object_id, services.job_resume, _("Resume this job"), text)

    def _act(
        self,
        request: HttpRequest,
        object_id: str,
        service: Callable[..., FineTuningJob],
        title: StrOrPromise,
        explanation: StrOrPromise,
        *,
        danger: bool = False,
    ) -> HttpResponse:
        job = self.get_object(request, object_id)
        if job is None:
            raise Http404
        if not self.has_change_permission(request, job):
            raise PermissionDenied
        if request.method != "POST":
            texts = {"title": title, "explanation": explanation, "danger": danger, "job": job}
            context = {**self.admin_site.each_context(request), "opts": self.opts, **texts}
            return TemplateResponse(request, "admin/training/finetuningjob/confirm.html", context)
        try:
            updated_job = service(job_id=job.pk, actor=actor_of(request.user))
        except JobTransitionError as error:
            messages.error(request, refusal_text(error))
        else:
            messages.success(request, _("The job is %s.") % _state(updated_job))
        return HttpResponseRedirect(reverse("admin:training_finetuningjob_change", args=[job.pk]))


def _state(job: FineTuningJob) -> str:
    action = job.get_requested_action_display() if job.requested_action else ""
    return f"{job.get_status_display()} → {action}" if action else job.get_status_display()
