"""Changes of a job's state: validated, failed, ended."""

from __future__ import annotations

from collections.abc import Mapping

from django.db import transaction

from training.choices import EventLevel, JobPhase, JobStatus, RequestedAction
from training.clock import database_now
from training.jobs.budget import reserve_budget
from training.jobs.doorbells import ring_on_commit
from training.jobs.events import event_add
from training.models import FineTuningJob


def locked_job(job_id: str) -> FineTuningJob:
    """Return a job and lock its row, which comes before the rows of its attempts. Raises DoesNotExist."""
    return FineTuningJob.objects.select_for_update(of=("self",)).select_related("tenant").get(id=job_id)


def job_end(
    job: FineTuningJob,
    status: JobStatus,
    message: str,
    *,
    level: EventLevel = EventLevel.INFO,
    data: Mapping[str, object] | None = None,
) -> None:
    """End a locked job with an event."""
    job.status, job.phase, job.requested_action = status, JobPhase.NONE, RequestedAction.NONE
    job.finished_at, job.estimated_finish, job.not_before = database_now(), None, None
    job.save(
        update_fields=[
            *("status", "phase", "requested_action", "finished_at", "estimated_finish", "not_before"),
        ]
    )
    reserve_budget(job)
    event_add(job, message, level=level, data=data)


@transaction.atomic
def job_queue(*, job_id: str, report: Mapping[str, object]) -> FineTuningJob:
    """Queue a job whose files are valid. A job that has left ``validating_files`` stays as it is."""
    job = locked_job(job_id)
    if job.status == JobStatus.VALIDATING_FILES:
        _queue(job, report)
    return job


@transaction.atomic
def job_fail(*, job_id: str, code: str, message: str, param: str = "") -> FineTuningJob:
    """Fail a job whose files are not valid. A job that has left ``validating_files`` stays as it is."""
    job = locked_job(job_id)
    if job.status == JobStatus.VALIDATING_FILES:
        job.error_code, job.error_message, job.error_param = code, message, param
        job.save(update_fields=["error_code", "error_message", "error_param"])
        job_end(job, JobStatus.FAILED, message, level=EventLevel.ERROR, data={"code": code})
    return job


def _queue(job: FineTuningJob, report: Mapping[str, object]) -> None:
    job.status, job.report, job.queued_at = JobStatus.QUEUED, dict(report), database_now()
    job.save(update_fields=["status", "report", "queued_at"])
    event_add(job, "Files validated, moving job to queued state")
    ring_on_commit(job.worker_class, job.priority)
