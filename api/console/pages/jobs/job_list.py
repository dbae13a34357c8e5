"""The list of a tenant's jobs: filters, the running strip, live rows, and actions on several jobs."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import HttpResponse, HttpResponseRedirect, JsonResponse
from django.shortcuts import redirect
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.utils.translation import gettext, ngettext
from django.views.decorators.http import require_http_methods

from api.console.access import TenantRequest, tenant_page
from api.console.job_data.owners import owner_names
from api.console.job_data.selectors import (
    ENDED,
    OPEN,
    JobFilter,
    filter_choices,
    filtered_jobs,
    jobs_by_id,
    queue_positions,
)
from api.console.job_data.state import JobState, eta_s, job_state
from api.console.rendering import json_response, page
from backoffice.admin_base import actor_of
from training.choices import JobStatus
from training.jobs.refusal_texts import refusal_text
from training.jobs.services import job_cancel
from training.jobs.transition_errors import JobTransitionError
from training.models import FineTuningJob

PAGE_SIZE = 50
MAX_SELECTED = 200
MAX_RUNNING = 8


@dataclass(frozen=True, slots=True)
class JobRow:
    """A job in the list. ``best_loss`` is None without an evaluation. ``owner``: the name of its creator."""

    job: FineTuningJob
    state: JobState
    eta_s: float | None
    best_loss: float | None
    owner: str


@tenant_page()
@require_http_methods(["GET", "HEAD", "POST"])
def job_list(request: TenantRequest) -> HttpResponse:
    """Show the jobs that the query string selects, or cancel the selected ones."""
    if request.method == "POST":
        return _cancel(request)
    job_filter = JobFilter.from_query(request.GET.dict())
    if request.GET.get("part") == "rows":
        return _changes(request, job_filter)
    jobs = Paginator(filtered_jobs(request.tenant.id, job_filter), PAGE_SIZE).get_page(
        request.GET.get("page")
    )
    context = {
        "rows": rows_of(list(jobs)),
        "running": _running(request),
        "newest": max((job.created_at for job in jobs), default=None),
        "pages": jobs,
        "filter": job_filter,
        "states": _state_choices(),
        **filter_choices(request.tenant.id),
    }
    return page(request, "console/jobs/list.html", context, section="jobs", title=gettext("Jobs"))


def rows_of(jobs: Sequence[FineTuningJob]) -> list[JobRow]:
    """Return the rows of a tenant's jobs, with their places in the queue."""
    places = queue_positions(jobs)
    owners = owner_names(jobs[0].tenant_id, (job.created_by for job in jobs)) if jobs else {}
    return [
        JobRow(
            job,
            job_state(job, places.get(job.id)),
            eta_s(job),
            getattr(job, "best_loss", None),
            owners[job.created_by],
        )
        for job in jobs
    ]


def _running(request: TenantRequest) -> list[JobRow]:
    jobs = FineTuningJob.objects.filter(tenant=request.tenant, status=JobStatus.RUNNING)
    return rows_of(list(jobs.order_by("started_at").defer("report", "result")[:MAX_RUNNING]))


def _changes(request: TenantRequest, job_filter: JobFilter) -> JsonResponse:
    """Return the rows that the page shows as they are now, and how many jobs are newer than the page."""
    ids = request.GET.get("ids", "").replace("\0", "").split(",")[:PAGE_SIZE]
    rows = rows_of(jobs_by_id(request.tenant.id, ids))
    since = _moment(request.GET.get("since", ""))
    newer = filtered_jobs(request.tenant.id, job_filter)
    texts = {row.job.id: _html(request, "console/jobs/row.html", row=row) for row in rows}
    return json_response(
        {
            "rows": texts,
            "new": newer.filter(created_at__gt=since).order_by().count() if since else 0,
            "running": _html(request, "console/jobs/running.html", running=_running(request)),
        }
    )


def _moment(text: str) -> dt.datetime | None:
    """Return a time with its offset, None if the text is not one. A "+" may have arrived as a space."""
    try:
        moment = parse_datetime(text.replace(" ", "+"))
    except ValueError:
        return None
    return moment if moment is not None and timezone.is_aware(moment) else None


def _html(request: TenantRequest, template: str, **context: object) -> str:
    return render_to_string(template, {"tenant": request.tenant, **context})


def _cancel(request: TenantRequest) -> HttpResponseRedirect:
    """Cancel the selected jobs of the tenant; those that have ended stay as they are."""
    ids = request.POST.getlist("job")[:MAX_SELECTED]
    count = 0
    for job in jobs_by_id(request.tenant.id, [job_id for job_id in ids if "\0" not in job_id]):
        try:
            job_cancel(job_id=job.id, actor=actor_of(request.user))
            count += 1
        except JobTransitionError as error:
            messages.warning(request, refusal_text(error))
    if count:
        text = ngettext("%(n)d job is cancelled.", "%(n)d jobs are cancelled.", count) % {"n": count}
        messages.success(request, text)
    else:
        messages.info(request, gettext("No job was cancelled: select some that have not ended."))
    query = request.META.get("QUERY_STRING", "")
    address = reverse("console:jobs", args=[request.tenant.slug])
    return redirect(f"{address}?{query}" if query else address)


def _state_choices() -> list[tuple[str, str]]:
    groups = [(OPEN, gettext("not ended")), (ENDED, gettext("ended"))]
    return groups + [(status.value, str(status.label)) for status in JobStatus]
