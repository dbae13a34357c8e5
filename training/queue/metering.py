"""Usage of fine-tuning: one usage record for each attempt, written in the transaction that ends it.

An attempt is charged for the tokens that it trained first. Steps that an earlier attempt was charged for, and
that a later one repeats from a checkpoint, cost nothing. An attempt that failed or was lost is not charged;
if a later one continues from its checkpoint, the steps up to there are charged with that one.
"""

from __future__ import annotations

from functools import partial

from django.db import transaction
from django.db.models import Sum

from tenants.choices import MeterSource, RecordOutcome, RecordState
from tenants.keys.selectors import actor_key
from tenants.models import UsageRecord
from tenants.quotas.counters.forgetting import spend_changed
from training.choices import AttemptOutcome
from training.costs import training_cost
from training.jobs.budget import reserve_budget
from training.models import FineTuningJob, JobAttempt

ENDPOINT = "/v1/fine_tuning/jobs"
OUTCOMES = {
    AttemptOutcome.SUCCEEDED: RecordOutcome.COMPLETED,
    AttemptOutcome.PAUSED: RecordOutcome.COMPLETED,
    AttemptOutcome.RELEASED: RecordOutcome.COMPLETED,
    AttemptOutcome.CANCELLED: RecordOutcome.CANCELLED,
    AttemptOutcome.FAILED: RecordOutcome.FAILED,
    AttemptOutcome.LOST: RecordOutcome.LOST,
}
UNCHARGED = frozenset({AttemptOutcome.FAILED, AttemptOutcome.LOST})


def usage_id(job: FineTuningJob, attempt: JobAttempt) -> str:
    """Return the id of an attempt's usage record: the job's id and the number of the attempt."""
    return f"{job.id}-{attempt.number}"


def attempt_meter(job: FineTuningJob, attempt: JobAttempt) -> UsageRecord:
    """Write the usage record of an attempt that has just ended, in the transaction that ends it."""
    outcome = AttemptOutcome(attempt.outcome)
    first_tokens = _first_tokens(attempt)
    charged_tokens = 0 if outcome in UNCHARGED else first_tokens
    attempt.charged_tokens = charged_tokens
    attempt.save(update_fields=["charged_tokens"])
    ended_at = attempt.ended_at or attempt.claimed_at
    if cost := training_cost(charged_tokens, job.training_price):
        transaction.on_commit(partial(spend_changed, job.tenant_id))
    record = UsageRecord.objects.create(
        request_id=usage_id(job, attempt),
        correlation_id=job.correlation_id,
        tenant_id=job.tenant_id,
        key=actor_key(job.created_by, job.tenant_id),
        endpoint=ENDPOINT,
        model=job.base_model,
        outcome=OUTCOMES[outcome],
        error_code=attempt.error_code,
        worker_id=attempt.worker_id,
        state=RecordState.SETTLED,
        attempt=attempt.number,
        meter_source=MeterSource.WORKER,
        is_charged=outcome not in UNCHARGED,
        trained_tokens=charged_tokens,
        wasted_tokens=min(first_tokens - charged_tokens, 2**31 - 1),
        training_price=job.training_price,
        cost_microusd=cost,
        total_s=(ended_at - attempt.claimed_at).total_seconds(),
        started_at=attempt.claimed_at,
        ended_at=ended_at,
        settled_at=ended_at,
        updated_at=ended_at,
    )
    reserve_budget(job)
    return record


def _first_tokens(attempt: JobAttempt) -> int:
    """Return the tokens that this attempt trained beyond those that were charged before."""
    earlier = JobAttempt.objects.filter(job=attempt.job_id, number__lt=attempt.number)
    charged_tokens = earlier.aggregate(charged=Sum("charged_tokens"))["charged"] or 0
    return max(0, (attempt.trained_tokens or 0) - int(charged_tokens))
