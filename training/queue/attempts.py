"""Writes by the worker that runs an attempt, refused unless the attempt still runs and has a lease."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import F, Q
from django.db.models.functions import Now

from training.choices import AttemptOutcome, RequestedAction
from training.clock import database_now
from training.models import FineTuningJob, JobAttempt
from training.queue.idle_limit import limit_idle_time


class AttemptFencedError(Exception):
    """The attempt has ended or its lease has expired: its worker must stop and write nothing more."""


@dataclass(frozen=True, slots=True)
class LockedAttempt:
    """A running attempt and its job, both rows locked."""

    job: FineTuningJob
    attempt: JobAttempt


@contextmanager
def attempt_write(token: uuid.UUID) -> Iterator[LockedAttempt]:
    """Open a transaction with the rows of an attempt and its job locked. Raises AttemptFencedError."""
    with transaction.atomic():
        limit_idle_time()
        # The job first, like every other transaction that locks both.
        job = (
            FineTuningJob.objects.select_for_update(of=("self",))
            .select_related("tenant")
            .filter(attempts__id=token)
            .first()
        )
        attempt = JobAttempt.objects.select_for_update().filter(id=token).first()
        if job is None or attempt is None:
            raise AttemptFencedError(f"the attempt {token} does not exist")
        if attempt.outcome != AttemptOutcome.RUNNING:
            raise AttemptFencedError(f"the attempt {attempt} has ended: {attempt.outcome}")
        if attempt.lease_until <= database_now():
            raise AttemptFencedError(f"the lease of the attempt {attempt} has expired")
        yield LockedAttempt(job, attempt)


def lease_renew(token: uuid.UUID) -> None:
    """Extend the lease. Raises AttemptFencedError."""
    with attempt_write(token) as locked_attempt:
        lease = timedelta(seconds=settings.CYLLM.training_lease_s)
        locked_attempt.attempt.lease_until = database_now() + lease
        locked_attempt.attempt.save(update_fields=["lease_until"])


def requested_action(token: uuid.UUID) -> RequestedAction:
    """Return the action requested of a running attempt, without any lock. Raises AttemptFencedError."""
    is_live = Q(outcome=AttemptOutcome.RUNNING, lease_until__gt=Now())
    actions = JobAttempt.objects.filter(is_live, id=token).values_list(F("job__requested_action"), flat=True)
    action = actions.first()
    if action is None:
        raise AttemptFencedError(f"the attempt {token} has ended or its lease has expired")
    return RequestedAction(action)
