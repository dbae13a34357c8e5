"""The page of one job: state, actions, charts, events, checkpoints, configuration and result."""

from __future__ import annotations

import json
import re
from typing import Any

from django.contrib import messages
from django.http import Http404, HttpResponse, HttpResponseRedirect, JsonResponse
from django.shortcuts import redirect
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_POST, require_safe

from api.console.access import TenantRequest, has_role, tenant_page
from api.console.job_data.checkpoint_rows import checkpoint_rows
from api.console.job_data.learning import learning_hint
from api.console.job_data.owners import owner_names
from api.console.job_data.selectors import has_model, job_history, queue_positions, with_best_loss
from api.console.job_data.selectors import messages as job_messages
from api.console.job_data.series import MAX_SMOOTHING, columns
from api.console.job_data.state import eta_s, job_state
from api.console.rendering import Link, json_response, page
from backoffice.admin_base import actor_of
from tenants.choices import Role
from tenants.files.models import StoredFile
from training.choices import JobAction
from training.jobs.refusal_texts import refusal_text
from training.jobs.selectors import attempts, attempts_with_logs, checkpoints
from training.jobs.services import job_act
from training.jobs.transition_errors import JobTransitionError
from training.models import FineTuningJob

TABS = ("data", "checkpoints", "config", "logs", "result")
# Of a page, and of one for which all are requested: an open page must not grow for ever.
MAX_CHECKPOINTS, MAX_ALL_CHECKPOINTS = 50, 1000
CONFIRMATIONS = {
    JobAction.CANCEL: _("The job is being cancelled."),
    JobAction.PAUSE: _("The job is being paused."),
    JobAction.RESUME: _("The job is being resumed."),
}


def find_job(request: TenantRequest, job_id: str) -> FineTuningJob:
    """Return a job of the request's tenant with ``best_loss``. Raises Http404."""
    jobs = with_best_loss(FineTuningJob.objects.filter(tenant=request.tenant))
    jobs = jobs.select_related("source_checkpoint__job")
    job = None if "\0" in job_id else jobs.filter(id=job_id).first()
    if job is None:
        raise Http404
    return job


def job_link(request: TenantRequest, job: FineTuningJob) -> Link:
    """Return the link of a job's page, for the breadcrumbs."""
    return Link(job.suffix or job.id, reverse("console:job", args=[request.tenant.slug, job.id]))


@tenant_page()
@require_safe
def job_page(request: TenantRequest, job_id: str) -> HttpResponse:
    """Show a job. ``?part=live`` returns the parts that its events change, as JSON."""
    job = find_job(request, job_id)
    context = _context(request, job)
    if request.GET.get("part") == "live":
        return _parts(request, context)
    tab = request.GET.get("tab", "")
    context |= {
        "tab": tab if tab in TABS else TABS[0],
        "tabs": _tabs(),
        "files": job_files(job),
        "head": job.next_event - 1,
    }
    return page(request, "console/jobs/job.html", context, section="jobs", title=job.suffix or job.id)


def _context(request: TenantRequest, job: FineTuningJob) -> dict[str, Any]:
    places = queue_positions([job])
    events = job_messages(job.id)
    shows_all = request.GET.get("checkpoints") == "all"
    limit = MAX_ALL_CHECKPOINTS if shows_all else MAX_CHECKPOINTS
    rows = checkpoint_rows(job, limit)
    can_change = has_role(request.role, Role.MEMBER)
    return {
        "job": job,
        "owner": owner_names(job.tenant_id, [job.created_by])[job.created_by],
        "tenant": request.tenant,
        "state": job_state(job, places.get(job.id)),
        "eta_s": eta_s(job),
        "best_loss": getattr(job, "best_loss", None),
        "events": events,
        "alerts": [event for event in events if event.level != "info"][:5],
        "checkpoints": rows,
        "checkpoint_count": len(rows) if len(rows) < limit else checkpoints(job).count(),
        "shows_all": shows_all,
        "attempts": list(attempts(job)),
        "config": configuration(job),
        "result": job.result or {},
        "has_model": has_model(job),
        "hint": learning_hint(job),
        "logs": attempts_with_logs(job) if can_change else (),
        "can_change": can_change,
    }


def _parts(request: TenantRequest, context: dict[str, Any]) -> JsonResponse:
    names = ("header", "alerts", "timeline", "attempts", "report", "checkpoints", "config", "logs", "result")
    parts = {name: render_to_string(f"console/jobs/parts/{name}.html", context, request) for name in names}
    job: FineTuningJob = context["job"]
    head = job.next_event - 1  # the last event that the parts show
    return json_response({"parts": parts, "head": head, "status": job.status, "word": context["state"].word})


def _tabs() -> list[tuple[str, str]]:
    titles = (gettext("Data"), gettext("Checkpoints"), gettext("Configuration"), gettext("Log"))
    return list(zip(TABS, (*titles, gettext("Result")), strict=True))


def job_files(job: FineTuningJob) -> list[tuple[str, str, StoredFile | None]]:
    """Return the purpose, id and file of each of the job's files; None for a deleted one. One query."""
    rows = StoredFile.objects.filter(tenant=job.tenant_id, id__in=[job.training_file, job.validation_file])
    by_id = {file.id: file for file in rows}
    uses = [(gettext("Training"), job.training_file), (gettext("Validation"), job.validation_file)]
    return [(use, file_id, by_id.get(file_id)) for use, file_id in uses if file_id]


def configuration(job: FineTuningJob) -> dict[str, str]:
    """Return the settings of a job by name, with the hyperparameters in effect."""
    values: dict[str, Any] = {
        "model": job.base_model,
        "method": job.method,
        "seed": job.seed,
        "training_file": job.training_file,
        "validation_file": job.validation_file or None,
        "suffix": job.suffix or None,
        "priority": job.priority,
        "worker_class": job.worker_class,
        **job.hyperparameters,
        **{name: value for name, value in job.resolved.items() if value is not None},
        **job.options,
    }
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in values.items()}


@tenant_page()
@require_safe
def job_series(request: TenantRequest, job_id: str) -> JsonResponse:
    """Return the job's series as JSON: ``s`` is the smoothing, ``from`` and ``to`` bound the steps."""
    job = find_job(request, job_id)
    series = columns(
        job_history(job.id),
        smoothing=_number(request, "s"),
        first_step=_step(request, "from"),
        last_step=_step(request, "to"),
    )
    return json_response(series)


def _number(request: TenantRequest, name: str) -> float:
    text = request.GET.get(name, "")
    return min(float(text), MAX_SMOOTHING) if re.fullmatch(r"0?\.\d{1,4}|0|1", text, re.ASCII) else 0.0


def _step(request: TenantRequest, name: str) -> int | None:
    text = request.GET.get(name, "")
    return int(text) if re.fullmatch(r"\d{1,9}", text, re.ASCII) else None


@tenant_page()
@require_POST
def job_action(request: TenantRequest, job_id: str, action: str) -> HttpResponseRedirect:
    """Cancel, pause or resume a job."""
    job = find_job(request, job_id)
    if action not in JobAction.values:
        raise Http404
    try:
        job_act(JobAction(action), job_id=job.id, actor=actor_of(request.user))
    except JobTransitionError as error:
        messages.error(request, refusal_text(error))
    else:
        messages.success(request, CONFIRMATIONS[JobAction(action)])
    return redirect("console:job", request.tenant.slug, job.id)
