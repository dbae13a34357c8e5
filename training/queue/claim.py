"""Claims of queued jobs by training workers, in one exact order.

Of the jobs that may run, the first one by this order is claimed:

1. the highest priority;
2. the tenant with the fewest running jobs;
3. the tenant whose latest claim is the oldest, those without any claim before all others;
4. the time at which the job was queued, the oldest first;
5. the id.

A job may run if it is queued for the worker's class, its base model is one of the worker's, its delay after a
failure has passed, and its tenant is active and runs fewer jobs than its maximum. Fairness depends on the
claims before, so claims are serialised by an advisory lock; a row that another transaction is changing is
skipped.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Count, F, IntegerField, OuterRef, Q, QuerySet, Subquery, Value
from django.db.models.functions import Coalesce, Now

from training.choices import JobPhase, JobStatus, RequestedAction
from training.clock import database_now
from training.jobs.events import event_add
from training.models import FineTuningJob, JobAttempt, TrainingPolicy
from training.queue.idle_limit import limit_idle_time

CLAIM_LOCK = 0x6674_636C_6169_6D00  # an arbitrary key for pg_advisory_xact_lock


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """An attempt that a worker may run. ``token`` is the id of its row."""

    token: uuid.UUID
    job_id: str
    number: int
    correlation_id: str


@transaction.atomic
def job_claim(*, worker_class: str, worker_id: str, base_models: Collection[str]) -> Claim | None:
    """Start an attempt of the first job that may run on this worker, None if there is none."""
    limit_idle_time()
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [CLAIM_LOCK])
    jobs = jobs_in_order(worker_class).filter(base_model__in=base_models)
    job = jobs.select_for_update(skip_locked=True, of=("self",)).first()
    return None if job is None else _start_attempt(job, worker_id, base_models)


def jobs_in_order(worker_class: str, *, without: str | None = None) -> QuerySet[FineTuningJob]:
    """Return the jobs of a worker class that may run, in the order of their claims.

    ``without``: id of a running job to leave out of the counts.
    """
    tenant_jobs = FineTuningJob.objects.filter(tenant=OuterRef("tenant")).order_by()
    running_jobs = tenant_jobs.filter(status=JobStatus.RUNNING)
    if without is not None:
        running_jobs = running_jobs.exclude(id=without)
    running = running_jobs.values("tenant").annotate(count=Count("id"))
    latest_claim = tenant_jobs.filter(claimed_at__isnull=False).order_by("-claimed_at")
    policy = TrainingPolicy.objects.filter(tenant=OuterRef("tenant"))
    maximum = Value(settings.CYLLM.training_tenant_jobs, IntegerField())
    return (
        FineTuningJob.objects.filter(status=JobStatus.QUEUED, worker_class=worker_class, tenant__active=True)
        .filter(Q(not_before=None) | Q(not_before__lte=Now()))
        .annotate(
            tenant_running=Coalesce(Subquery(running.values("count")), Value(0)),
            tenant_claimed_at=Subquery(latest_claim.values("claimed_at")[:1]),
            tenant_maximum=Coalesce(Subquery(policy.values("max_running_jobs")), maximum),
        )
        .filter(tenant_running__lt=F("tenant_maximum"))
        .order_by(
            *("-priority", "tenant_running"),
            F("tenant_claimed_at").asc(nulls_first=True),
            *("queued_at", "id"),
        )
    )


def others_wait(token: uuid.UUID) -> bool:
    """Return whether the worker of a running attempt could claim another job in its place."""
    attempt = JobAttempt.objects.select_related("job").get(id=token)
    jobs = jobs_in_order(attempt.job.worker_class, without=attempt.job_id)
    return jobs.filter(base_model__in=attempt.base_models).exists()


def _start_attempt(job: FineTuningJob, worker_id: str, base_models: Collection[str]) -> Claim:
    now = database_now()
    attempt = JobAttempt.objects.create(
        job=job,
        number=job.attempt_count + 1,
        worker_id=worker_id,
        base_models=sorted(base_models),
        claimed_at=now,
        lease_until=now + timedelta(seconds=settings.CYLLM.training_lease_s),
    )
    is_first = job.started_at is None
    job.status, job.phase, job.requested_action = JobStatus.RUNNING, JobPhase.PREPARING, RequestedAction.NONE
    job.attempt_count, job.not_before = attempt.number, None
    job.claimed_at, job.started_at = now, job.started_at or now
    job.save(
        update_fields=[
            *("status", "phase", "requested_action", "attempt_count"),
            *("not_before", "claimed_at", "started_at"),
        ]
    )
    message = "Fine-tuning job started" if is_first else f"Attempt {attempt.number} started"
    event_add(job, message, data={"attempt": attempt.number})
    return Claim(token=attempt.id, job_id=job.id, number=attempt.number, correlation_id=job.correlation_id)
