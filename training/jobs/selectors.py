"""Reads of fine-tuning jobs."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Mapping

from django.conf import settings
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils import timezone

from inference_worker.registry.models import ServedModel
from inference_worker.registry.selectors import visible_to
from training.choices import END_STATUSES, JobStatus
from training.models import FineTuningJob, JobAttempt, JobCheckpoint, JobEvent


def job_find(*, tenant_id: uuid.UUID | str, job_id: str) -> FineTuningJob | None:
    """Return a tenant's job, None if the tenant has no such job."""
    return FineTuningJob.objects.filter(tenant_id=tenant_id, id=job_id).first()


def jobs_page(
    *,
    tenant_id: uuid.UUID | str,
    limit: int,
    after: FineTuningJob | None = None,
    metadata: Mapping[str, str] | None = None,
) -> list[FineTuningJob]:
    """Return up to ``limit`` jobs of a tenant, newest first, that follow the job ``after``.

    ``metadata``: only jobs with all these pairs; an empty mapping selects jobs without metadata.
    """
    jobs = FineTuningJob.objects.filter(tenant_id=tenant_id)
    if after is not None:
        older = Q(created_at__lt=after.created_at) | Q(created_at=after.created_at, id__lt=after.id)
        jobs = jobs.filter(older)
    if metadata:
        jobs = jobs.filter(metadata__contains=dict(metadata))
    elif metadata is not None:
        jobs = jobs.filter(metadata={})
    return list(jobs.order_by("-created_at", "-id")[:limit])


def job_head(job_id: str) -> FineTuningJob | None:
    """Return a job with its status and the number of its next event only, None if it does not exist."""
    return FineTuningJob.objects.only("status", "next_event").filter(id=job_id).first()


def open_job_count(tenant_id: uuid.UUID | str) -> int:
    """Return the number of a tenant's jobs that have not ended."""
    return FineTuningJob.objects.filter(tenant_id=tenant_id).exclude(status__in=END_STATUSES).count()


def jobs(*, tenant_id: uuid.UUID | None = None, status: str | None = None) -> QuerySet[FineTuningJob]:
    """Return the jobs of a tenant or of all, newest first."""
    rows = FineTuningJob.objects.select_related("tenant").order_by("-created_at", "-id")
    if tenant_id is not None:
        rows = rows.filter(tenant_id=tenant_id)
    return rows.filter(status=status) if status else rows


def events_after(job: FineTuningJob | str, number: int, limit: int | None = None) -> list[JobEvent]:
    """Return the events of a job, or of the job with an id, that have a greater number, oldest first."""
    return list(JobEvent.objects.filter(job=job, number__gt=number).order_by("number")[:limit])


def events_before(job: FineTuningJob, number: int | None, limit: int) -> list[JobEvent]:
    """Return up to ``limit`` events with a smaller number, newest first; None means from the newest."""
    events = JobEvent.objects.filter(job=job)
    if number is not None:
        events = events.filter(number__lt=number)
    return list(events.order_by("-number")[:limit])


def checkpoints(job: FineTuningJob) -> QuerySet[JobCheckpoint]:
    """Return a job's checkpoints, newest first."""
    return JobCheckpoint.objects.filter(job=job).order_by("-step")


def publication_find(checkpoint_id: str | None) -> FineTuningJob | None:
    """Return the job that is publishing a checkpoint, or that made it a model which still exists.

    While there is one, no other may start or be resumed; the tenant's lock serialises both.
    """
    models = ServedModel.objects.filter(name=OuterRef("fine_tuned_model"))
    is_model = Q(Exists(models), status=JobStatus.SUCCEEDED)
    publications = FineTuningJob.objects.filter(source_checkpoint=checkpoint_id)
    return publications.filter(~Q(status__in=END_STATUSES) | is_model).order_by("created_at").first()


def is_base_available(job: FineTuningJob) -> bool:
    """Return whether the base model of a job is registered, enabled and visible to the job's tenant."""
    models = ServedModel.objects.filter(visible_to([job.tenant_id]), adapter=None, enabled=True)
    return models.filter(name=job.base_model).exists()


def is_retention_over(job: FineTuningJob) -> bool:
    """Return whether a job ended so long ago that training workers remove its checkpoints."""
    retention = dt.timedelta(hours=settings.CYLLM.training_retention_h)
    return job.finished_at is not None and job.finished_at < timezone.now() - retention


def attempts(job: FineTuningJob) -> QuerySet[JobAttempt]:
    """Return a job's attempts without their logs, oldest first."""
    return JobAttempt.objects.filter(job=job).order_by("number").defer("log")


def attempts_with_logs(job: FineTuningJob, limit: int = 3) -> QuerySet[JobAttempt]:
    """Return the latest attempts whose trainers have written a log, newest first."""
    return JobAttempt.objects.filter(job=job).exclude(log="").order_by("-number")[:limit]


def open_jobs_of_file(*, tenant_id: uuid.UUID | str, file_id: str) -> list[str]:
    """Return the ids of a tenant's jobs that have not ended and train or validate with this file."""
    uses = FineTuningJob.objects.filter(Q(training_file=file_id) | Q(validation_file=file_id))
    open_uses = uses.filter(tenant_id=tenant_id).exclude(status__in=END_STATUSES)
    return list(open_uses.order_by("created_at", "id").values_list("id", flat=True))


def training_price(base_model: str) -> int:
    """Return the price of a base model's trained tokens, 0 if it is not registered."""
    prices = ServedModel.objects.filter(name=base_model).values_list("training_price", flat=True)
    return prices.first() or 0
