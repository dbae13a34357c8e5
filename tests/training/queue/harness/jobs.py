"""Jobs for the tests of the queue."""

from __future__ import annotations

import io
import json
from contextlib import suppress
from typing import Any, Protocol

from django.db import transaction

from tenants.files.creation import NewFile, file_store
from tenants.files.models import Purpose
from tenants.models import Tenant
from tests.patience import PATIENCE_S
from tests.stacks import wait_until
from training.choices import END_STATUSES
from training.jobs.services import job_cancel, job_insert
from training.jobs.state import job_queue
from training.jobs.transition_errors import JobTransitionError
from training.models import FineTuningJob, JobEvent
from training.requests.job_request import JobRequest


class MakeJob(Protocol):
    """Creates a job, of acme unless a tenant is given, whose scripted trainer behaves as the script says."""

    def __call__(self, script: dict[str, Any] | None = None, **fields: Any) -> FineTuningJob: ...


def job_with_script(tenant: Tenant, script: dict[str, Any], **fields: Any) -> FineTuningJob:
    """Create a job with its file."""
    content = io.BytesIO(json.dumps(script).encode())
    new = NewFile(filename="script.jsonl", purpose=Purpose.USER_DATA)
    file = file_store(tenant_id=tenant.id, content=content, new=new, actor="tests")
    return queued_job(tenant, **{"training_file": file.id, "report": {"examples": 10}, **fields})


def queued_job(tenant: Tenant, *, report: dict[str, Any] | None, **fields: Any) -> FineTuningJob:
    """Create a queued job with this dataset report, unchecked; without one, its files are not validated."""
    correlation_id = fields.pop("correlation_id", "")
    request = JobRequest(**{"base_model": "base", **fields})
    with transaction.atomic():
        job = job_insert(request, tenant=tenant, actor="tests", correlation_id=correlation_id)
        return job if report is None else job_queue(job_id=job.id, report=report)


def wait_for_status(job: FineTuningJob, status: str, timeout_s: float = PATIENCE_S) -> float:
    """Wait until the job has a status; returns the seconds. Fails at once if it ends with another."""

    def has_status() -> bool:
        job.refresh_from_db()
        assert job.status == status or job.status not in END_STATUSES, (job.status, job.error_message)
        return job.status == status

    return wait_until(has_status, f"the job is {status}", timeout_s=timeout_s)


def jobs_end() -> None:
    """Cancel all jobs, and wait until their workers are free."""
    for job_id in FineTuningJob.objects.exclude(status__in=END_STATUSES).values_list("id", flat=True):
        with suppress(JobTransitionError):  # it has just ended
            job_cancel(job_id=job_id, actor="tests")
    running = FineTuningJob.objects.exclude(status__in=END_STATUSES)
    wait_until(lambda: not running.exists(), "all jobs have ended")


def messages(job: FineTuningJob) -> list[str]:
    """Return the messages of a job's events."""
    return list(JobEvent.objects.filter(job=job).order_by("number").values_list("message", flat=True))
