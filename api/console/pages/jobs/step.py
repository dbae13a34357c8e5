"""The page of one optimizer step: its metrics, and the training samples that it was trained on."""

from __future__ import annotations

from django.http import Http404, HttpResponse
from django.utils.translation import gettext
from django.views.decorators.http import require_safe

from api.console.access import TenantRequest, has_role, tenant_page
from api.console.job_data.step_samples import MAX_SHOWN, samples_of_lines
from api.console.pages.jobs.job import find_job, job_link
from api.console.rendering import page
from tenants.choices import Role
from tenants.files.models import StoredFile
from tenants.files.selectors import file_find
from training.choices import EventType
from training.jobs.step_lines import step_lines
from training.models import FineTuningJob, JobEvent


@tenant_page()
@require_safe
def job_step(request: TenantRequest, job_id: str, step: int) -> HttpResponse:
    """Show the samples of a step. Their text is for members, who may read files; viewers see the lines."""
    job = find_job(request, job_id)
    if not 1 <= step <= (job.total_steps or 0):
        raise Http404
    lines = step_lines(job, step)
    file = file_find(file_id=job.training_file, tenant_id=job.tenant_id)
    can_read = has_role(request.role, Role.MEMBER)
    samples, problem = samples_of_lines(lines or (), file if can_read else None)
    context = {
        "job": job,
        "step": step,
        "previous": step - 1,
        "next": step + 1 if step < (job.total_steps or 0) else 0,
        "metrics": _metrics(job, step),
        "logging_steps": int(job.options.get("logging_steps") or 1),
        "file": file,
        "is_known": lines is not None,
        "samples": samples[:MAX_SHOWN],
        "other_lines": [sample.line for sample in samples[MAX_SHOWN:]],
        "notice": problem or _notice(file, can_read=can_read),
    }
    crumbs = [job_link(request, job)]
    title = gettext("Samples of step %(n)d") % {"n": step}
    return page(request, "console/jobs/step.html", context, section="jobs", title=title, crumbs=crumbs)


def _metrics(job: FineTuningJob, step: int) -> dict[str, object]:
    """Return the metrics of a step, of the latest attempt that reached it; empty if it was not logged."""
    events = JobEvent.objects.filter(
        job=job, type=EventType.METRICS, data__step=step, data__has_key="train_loss"
    )
    data: dict[str, object] | None = events.order_by("-number").values_list("data", flat=True).first()
    return data or {}


def _notice(file: StoredFile | None, *, can_read: bool) -> str:
    if file is None:
        return gettext("The training file was deleted, so only the line numbers of the samples are known.")
    if not can_read:
        return gettext("Your role doesn't include reading files, so you see only the samples' line numbers.")
    return ""
