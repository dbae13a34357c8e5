"""Reads of jobs for pages, each with a bounded number of queries."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from django.db.models import F, FloatField, OrderBy, OuterRef, Q, QuerySet, Subquery, TextField
from django.db.models.fields.json import KT
from django.db.models.functions import Cast, Extract

from api.console.job_data.owners import owner_names
from api.console.job_data.series import History, read_history
from inference_worker.registry.models import ServedModel
from training.choices import END_STATUSES, EventType, JobStatus
from training.models import FineTuningJob, JobEvent
from training.queue.claim import jobs_in_order

OPEN, ENDED = "open", "ended"
SORTS: dict[str, tuple[str | OrderBy, ...]] = {
    "-created": ("-created_at", "-id"),
    "created": ("created_at", "id"),
    "-finished": (F("finished_at").desc(nulls_last=True), "-id"),
    "best": (F("best_loss").asc(nulls_last=True), "-created_at"),
    "model": ("base_model", "-created_at"),
}
DEFAULT_SORT = "-created"
FILTERS = ("state", "base", "owner", "q", "sort")
MAX_QUEUE = 500


@dataclass(frozen=True, slots=True)
class JobFilter:
    """The filters of the list, as in the query string; empty ones select everything."""

    state: str = ""
    base: str = ""
    owner: str = ""
    q: str = ""
    sort: str = DEFAULT_SORT

    @classmethod
    def from_query(cls, values: Mapping[str, str]) -> JobFilter:
        """Return the filters of a query string; an unknown sort is the default."""
        filters = {name: str(values.get(name, ""))[:200].replace("\0", "") for name in FILTERS}
        return cls(**filters | {"sort": filters["sort"] if filters["sort"] in SORTS else DEFAULT_SORT})

    @property
    def is_set(self) -> bool:
        """True if any filter restricts the list."""
        return bool(self.state or self.base or self.owner or self.q)


def filtered_jobs(tenant_id: uuid.UUID, job_filter: JobFilter) -> QuerySet[FineTuningJob]:
    """Return a tenant's jobs with ``best_loss`` in the chosen order."""
    jobs = with_best_loss(FineTuningJob.objects.filter(tenant_id=tenant_id))
    if job_filter.state == OPEN:
        jobs = jobs.exclude(status__in=END_STATUSES)
    elif job_filter.state == ENDED:
        jobs = jobs.filter(status__in=END_STATUSES)
    elif job_filter.state:
        jobs = jobs.filter(status=job_filter.state)
    if job_filter.base:
        jobs = jobs.filter(base_model=job_filter.base)
    if job_filter.owner:
        jobs = jobs.filter(created_by=job_filter.owner)
    if job_filter.q:
        jobs = jobs.filter(
            Q(id__icontains=job_filter.q)
            | Q(suffix__icontains=job_filter.q)
            | Q(base_model__icontains=job_filter.q)
            | Q(fine_tuned_model__icontains=job_filter.q)
        )
    return jobs.order_by(*SORTS[job_filter.sort]).defer("report", "result")


def with_best_loss(jobs: QuerySet[FineTuningJob]) -> QuerySet[FineTuningJob]:
    """Annotate jobs with the lowest validation loss of their evaluations, ``best_loss``."""
    evaluations = (
        JobEvent.objects.filter(job=OuterRef("pk"), type=EventType.METRICS, data__has_key="valid_loss")
        .annotate(valid_loss=Cast(KT("data__valid_loss"), FloatField()))
        .order_by(F("valid_loss").asc(nulls_last=True))
    )
    return jobs.annotate(best_loss=Subquery(evaluations.values("valid_loss")[:1]))


def filter_choices(tenant_id: uuid.UUID) -> dict[str, list[Any]]:
    """Return the base models of a tenant's jobs, and their owners with names. At most three queries."""
    jobs = FineTuningJob.objects.filter(tenant_id=tenant_id).order_by()
    names = owner_names(tenant_id, jobs.values_list("created_by", flat=True).distinct()[:100])
    return {
        "bases": sorted(jobs.values_list("base_model", flat=True).distinct()[:100]),
        "owners": sorted(names.items(), key=lambda owner: owner[1].casefold()),
    }


def queue_positions(jobs: Iterable[FineTuningJob]) -> dict[str, int]:
    """Return the places of queued jobs in the order of claims, from 1. One query per worker class."""
    waiting = {job.id: job.worker_class for job in jobs if job.status == JobStatus.QUEUED}
    positions: dict[str, int] = {}
    for worker_class in sorted(set(waiting.values())):
        ids = jobs_in_order(worker_class).values_list("id", flat=True)[:MAX_QUEUE]
        positions |= {job_id: place for place, job_id in enumerate(ids, start=1) if job_id in waiting}
    return positions


def job_history(job_id: str) -> History:
    """Return the metrics of a job. One query."""
    relevant = Q(type=EventType.METRICS) | Q(data__has_key="start_step")
    rows = JobEvent.objects.filter(relevant, job_id=job_id).order_by("number")
    # As text and seconds: the database's driver takes several times as long for JSON and times of a long run.
    plain = rows.annotate(text=Cast("data", TextField()), at_s=Cast(Extract("at", "epoch"), FloatField()))
    decode = msgspec.json.Decoder(dict[str, Any]).decode
    values = plain.values_list("number", "at_s", "text")
    return read_history((number, at_s, decode(text)) for number, at_s, text in values.iterator(5000))


def messages(job_id: str, limit: int = 200) -> list[JobEvent]:
    """Return the latest events of a job that aren't metrics, newest first."""
    return list(JobEvent.objects.filter(job_id=job_id, type=EventType.MESSAGE).order_by("-number")[:limit])


def jobs_by_id(tenant_id: uuid.UUID, ids: Collection[str]) -> Sequence[FineTuningJob]:
    """Return a tenant's jobs with these ids, in the order of the ids."""
    jobs = with_best_loss(FineTuningJob.objects.filter(tenant_id=tenant_id, id__in=ids))
    by_id = {job.id: job for job in jobs}
    return [by_id[job_id] for job_id in ids if job_id in by_id]


def has_model(job: FineTuningJob) -> bool:
    """Return whether a job's result is a model that has not been deleted. At most one query."""
    return bool(job.fine_tuned_model) and ServedModel.objects.filter(name=job.fine_tuned_model).exists()
