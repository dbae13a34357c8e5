"""Deletion of old events and logs of ended jobs, in paced batches."""

from __future__ import annotations

import datetime as dt
import uuid
from functools import partial

from django.db import transaction
from django.db.models import Exists, F, OuterRef, QuerySet

from tenants.audit_trail.changes import admin_audit_record
from tenants.long_tasks import paced_batches
from training.jobs.state import locked_job
from training.models import FineTuningJob, JobAttempt, JobEvent

BATCH = 1000
PURGE_ACTION = "job.purge_events"


def events_purge(
    *, before: dt.datetime, actor: str, batch: int = BATCH, tenant_id: uuid.UUID | None = None
) -> int:
    """Delete the events of jobs that ended before, except the last one of each, which tells how it ended.

    The logs of their trainers go with them. ``tenant_id`` None: of all tenants. Each batch is one transaction
    with its own administrative audit record. Returns the number of events.
    """
    jobs = list(_jobs_with_events(before, tenant_id).values_list("id", flat=True))
    return sum(paced_batches(partial(_purge_batch, job_id, before, batch, actor)) for job_id in jobs)


def purgeable_events(*, before: dt.datetime, tenant_id: uuid.UUID | None = None) -> int:
    """Return how many events ``events_purge`` would delete."""
    jobs = _jobs_with_events(before, tenant_id)
    return JobEvent.objects.filter(job__in=jobs, number__lt=F("job__next_event") - 1).count()


def _jobs_with_events(before: dt.datetime, tenant_id: uuid.UUID | None) -> QuerySet[FineTuningJob]:
    # ``next_event`` is one more than the number of the last event.
    events = JobEvent.objects.filter(job=OuterRef("pk"), number__lt=OuterRef("next_event") - 1)
    jobs = FineTuningJob.objects.filter(Exists(events), finished_at__lt=before).order_by("finished_at")
    return jobs if tenant_id is None else jobs.filter(tenant_id=tenant_id)


@transaction.atomic
def _purge_batch(job_id: str, before: dt.datetime, batch: int, actor: str) -> int:
    job = locked_job(job_id)
    if job.finished_at is None or job.finished_at >= before:  # resumed meanwhile
        return 0
    events = JobEvent.objects.filter(job=job, number__lt=job.next_event - 1)
    numbers = list(events.order_by("number").values_list("number", flat=True)[:batch])
    if not numbers:
        return 0
    count, _ = events.filter(number__lte=numbers[-1]).delete()
    JobAttempt.objects.filter(job=job).update(log="")
    admin_audit_record(
        actor=actor,
        action=PURGE_ACTION,
        object_id=job.id,
        object_name=job.id,
        tenant_id=job.tenant_id,
        before={"events": count, "last": numbers[-1]},
        after=None,
    )
    return count
