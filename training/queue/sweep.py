"""The periodic sweep: ends lost attempts, releases reservations, preempts for urgent jobs, rings."""

from __future__ import annotations

import uuid
from datetime import timedelta

from django.conf import settings
from django.db import transaction
from django.db.models.functions import Now

from training.choices import AttemptOutcome, JobStatus
from training.clock import database_now
from training.jobs.budget import reservations_release
from training.jobs.doorbells import ring, ring_for_validation
from training.jobs.failures import Failure
from training.models import FineTuningJob, JobAttempt
from training.queue.attempts import LockedAttempt
from training.queue.claim import jobs_in_order
from training.queue.endings import BACKOFF_MAX_S, end_failed
from training.queue.idle_limit import limit_idle_time
from training.queue.preemption import inactive_tenants_jobs_stop, preemption_request
from training.queue.validation import LEASE_S as VALIDATION_LEASE_S
from training.queue.validation import validations_waiting

# A worker renews at a third of the lease and its trainer ends one lease after the last renewal reached it.
GRACE_OF_LEASE = 0.5
MAX_LEASES_AHEAD = 10  # workers may be configured with a longer lease than the sweep
WORKER_LOST = Failure(
    code="worker_lost",
    message="The training worker stopped responding.",
    next_step="Check the training worker's log and memory, then resume the job.",
    is_transient=True,
)


def jobs_sweep() -> int:
    """Sweep once. Returns the number of attempts that were lost."""
    _times_ahead_limit()
    lost_count = sum(_end_lost_attempt(token) for token in _expired_attempts())
    inactive_tenants_jobs_stop()
    reservations_release()
    for worker_class in _waiting_classes():
        preemption_request(worker_class)
        if first := jobs_in_order(worker_class).first():
            ring(worker_class, first.priority, unless_pending=True)
    if validations_waiting():
        ring_for_validation(unless_pending=True)
    return lost_count


def _times_ahead_limit() -> None:
    """Shorten leases and delays that reach too far ahead, because the database's clock has been set back.

    Otherwise a dead worker's job would wait until the clock has caught up.
    """
    now, lease = database_now(), timedelta(seconds=settings.CYLLM.training_lease_s)
    attempts = JobAttempt.objects.filter(outcome=AttemptOutcome.RUNNING)
    attempts.filter(lease_until__gt=now + MAX_LEASES_AHEAD * lease).update(lease_until=now + lease)
    delay = timedelta(seconds=BACKOFF_MAX_S)
    FineTuningJob.objects.filter(not_before__gt=now + delay).update(not_before=now + delay)
    validation_lease = timedelta(seconds=VALIDATION_LEASE_S)
    leased_jobs = FineTuningJob.objects.filter(status=JobStatus.VALIDATING_FILES)
    leased_jobs.filter(validation_until__gt=now + validation_lease).update(
        validation_until=now + validation_lease
    )


def _expired_attempts() -> list[uuid.UUID]:
    grace = timedelta(seconds=settings.CYLLM.training_lease_s * GRACE_OF_LEASE)
    expired_attempts = JobAttempt.objects.filter(
        outcome=AttemptOutcome.RUNNING, lease_until__lt=Now() - grace
    )
    return list(expired_attempts.order_by("lease_until").values_list("id", flat=True))


@transaction.atomic
def _end_lost_attempt(token: uuid.UUID) -> bool:
    limit_idle_time()
    jobs = FineTuningJob.objects.select_for_update(skip_locked=True, of=("self",))
    job = jobs.select_related("tenant").filter(attempts__id=token).first()
    if job is None:  # another transaction holds it; the next sweep tries again
        return False
    attempt = JobAttempt.objects.select_for_update().get(id=token)
    if attempt.outcome != AttemptOutcome.RUNNING or attempt.lease_until >= database_now():
        return False
    end_failed(LockedAttempt(job, attempt), WORKER_LOST, AttemptOutcome.LOST)
    return True


def _waiting_classes() -> list[str]:
    queued_jobs = FineTuningJob.objects.filter(status=JobStatus.QUEUED)
    return list(queued_jobs.order_by().values_list("worker_class", flat=True).distinct())
