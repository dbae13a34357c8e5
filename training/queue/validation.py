"""Claims of the validation of new jobs' files, leased like attempts and fair between tenants.

Of the jobs in ``validating_files`` that nobody validates and whose tenant is active, the first one by this
order is claimed: the tenant with the fewest validations that run; the tenant whose latest claim is the
oldest; the oldest job.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import timedelta

from django.db import connection, transaction
from django.db.models import Count, F, OuterRef, Q, Subquery, Value
from django.db.models.functions import Coalesce, Now

from training.choices import JobStatus
from training.clock import database_now
from training.jobs.state import locked_job
from training.models import FineTuningJob

LEASE_S = 60.0
MAX_CLAIMS = 3
VALIDATION_LOCK = 0x6674_6669_6C65_7300  # an arbitrary key for pg_advisory_xact_lock


_IS_FREE = Q(validation_until=None) | Q(validation_until__lte=Now())
_IS_WAITING = Q(status=JobStatus.VALIDATING_FILES, tenant__active=True)


class ValidationLostError(Exception):
    """The job has been cancelled or paused, or another process validates its files."""


@dataclass(frozen=True, slots=True)
class ValidationClaim:
    """A claimed validation. ``is_last``: the processes of earlier claims died, so none follows this one."""

    job: FineTuningJob
    token: uuid.UUID
    is_last: bool


@transaction.atomic
def validation_claim() -> ValidationClaim | None:
    """Claim the first job whose files wait for validation, None if there is none."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [VALIDATION_LOCK])
    tenant_jobs = FineTuningJob.objects.filter(tenant=OuterRef("tenant")).order_by()
    leased_jobs = tenant_jobs.filter(status=JobStatus.VALIDATING_FILES, validation_until__gt=Now())
    latest_claim = tenant_jobs.filter(validation_claimed_at__isnull=False).order_by("-validation_claimed_at")
    waiting = FineTuningJob.objects.filter(_IS_WAITING).annotate(
        tenant_leased=Coalesce(
            Subquery(leased_jobs.values("tenant").annotate(n=Count("id")).values("n")), Value(0)
        ),
        tenant_claimed_at=Subquery(latest_claim.values("validation_claimed_at")[:1]),
    )
    free = waiting.filter(_IS_FREE).order_by(
        "tenant_leased", F("tenant_claimed_at").asc(nulls_first=True), "created_at", "id"
    )
    job = free.select_for_update(skip_locked=True, of=("self",)).first()
    if job is None:
        return None
    now = database_now()
    job.validation_token, job.validation_claimed_at = uuid.uuid4(), now
    job.validation_until = now + timedelta(seconds=LEASE_S)
    job.validation_count += 1
    job.save(
        update_fields=["validation_token", "validation_claimed_at", "validation_until", "validation_count"]
    )
    return ValidationClaim(job, job.validation_token, job.validation_count > MAX_CLAIMS)


def validations_waiting() -> bool:
    """Return whether there is a validation to be claimed."""
    return FineTuningJob.objects.filter(_IS_FREE, _IS_WAITING).exists()


def validation_renew(claim: ValidationClaim) -> None:
    """Extend the lease. Raises ValidationLostError."""
    rows = FineTuningJob.objects.filter(
        id=claim.job.id, validation_token=claim.token, status=JobStatus.VALIDATING_FILES
    )
    if not rows.update(validation_until=Now() + timedelta(seconds=LEASE_S)):
        raise ValidationLostError


def validation_release(claim: ValidationClaim) -> None:
    """Return an interrupted validation to the queue. It does not count as a try."""
    FineTuningJob.objects.filter(id=claim.job.id, validation_token=claim.token).update(
        validation_token=None, validation_until=None, validation_count=F("validation_count") - 1
    )


def require_claim(claim: ValidationClaim) -> None:
    """Lock the job in the caller's transaction. Raises ValidationLostError."""
    job = locked_job(claim.job.id)
    if job.validation_token != claim.token or job.status != JobStatus.VALIDATING_FILES:
        raise ValidationLostError
