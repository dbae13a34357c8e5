"""Usage of fine-tuning: each ended attempt has one usage record, and no token of a job is charged twice."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
import redis
from django.utils import timezone

from inference_worker.registry.services import model_register
from tenants.files.models import StoredFile
from tenants.keys.secrets import split_key
from tenants.models import ApiKey, SpendReservation, UsageRecord
from tenants.quotas.counters import forgetting, names
from tenants.services import tenant_update
from tenants.usage.sums import Dimension, UsagePeriod, quarter_start, spend_microusd, usage_groups
from tests.people import Cast
from tests.training.queue.attempts.test_attempt_writes import TRANSIENT, expire
from tests.training.queue.claims.test_claim_order import claim, queued
from tests.training.queue.claims.test_open_jobs import DISK_FULL
from tests.training.queue.harness.jobs import job_with_script
from training.choices import JobStatus
from training.costs import training_cost
from training.engine import events
from training.jobs.failures import Failure
from training.jobs.refusal_texts import refusal_text
from training.jobs.services import job_cancel, job_insert, job_pause, job_resume
from training.jobs.state import job_queue
from training.jobs.transition_errors import JobBudgetError
from training.models import FineTuningJob, JobAttempt
from training.queue.claim import Claim
from training.queue.endings import Success, attempt_fail, attempt_stop, attempt_succeed
from training.queue.sweep import jobs_sweep
from training.requests.job_request import JobRequest
from training.supervisor.results.recording import events_record

PRICE = 3_000_000  # 3 micro-dollars per token


@pytest.fixture(autouse=True)
def _servers(cast: Cast, redis_url: str) -> None:
    """Tenants and a broker."""


@pytest.fixture
def job(cast: Cast) -> FineTuningJob:
    job = queued(cast.acme)
    FineTuningJob.objects.filter(id=job.id).update(training_price=PRICE)
    return job


def start(job: FineTuningJob) -> Claim:
    FineTuningJob.objects.filter(id=job.id).update(not_before=None)
    current_claim = claim()
    assert current_claim is not None
    return current_claim


def train(current_claim: Claim, trained_tokens: int) -> None:
    """Report a step after which the job has trained so many tokens."""
    events_record(
        current_claim.token,
        events.Progress(
            step=trained_tokens // 100,
            total_steps=100,
            epoch=0.5,
            loss=1.0,
            learning_rate=1e-4,
            grad_norm=1.0,
            token_accuracy=None,
            trained_tokens=trained_tokens,
            tokens_per_s=10.0,
            samples_per_s=1.0,
            elapsed_s=1.0,
            eta_s=1.0,
            memory_bytes=1,
        ),
    )


def success(trained_tokens: int) -> Success:
    return Success(fine_tuned_model="ft:x", result={}, trained_tokens=trained_tokens)


def usage(job: FineTuningJob) -> list[dict[str, Any]]:
    names = ("request_id", "outcome", "trained_tokens", "wasted_tokens", "cost_microusd", "is_charged")
    return list(UsageRecord.objects.order_by("attempt").values(*names))


def test_a_job_that_succeeds_has_one_usage_record(cast: Cast, job: FineTuningJob) -> None:
    current_claim = start(job)
    train(current_claim, 500)
    attempt_succeed(current_claim.token, success(1000))
    record = UsageRecord.objects.get()
    attempt = JobAttempt.objects.get()
    assert record.request_id == f"{job.id}-1"
    assert (record.tenant, record.model, record.endpoint) == (cast.acme, "base", "/v1/fine_tuning/jobs")
    assert (record.trained_tokens, record.training_price, record.cost_microusd) == (1000, PRICE, 3000)
    assert (record.outcome, record.state, record.started_at) == ("completed", "settled", attempt.claimed_at)
    assert attempt.ended_at is not None
    assert record.total_s == (attempt.ended_at - attempt.claimed_at).total_seconds()
    since = quarter_start(attempt.claimed_at)
    assert spend_microusd(cast.acme.id, None, since) == 3000
    (group,) = usage_groups(UsagePeriod(since=since), [Dimension.ENDPOINT])
    assert (group.labels[Dimension.ENDPOINT], group.sum.trained_tokens) == (record.endpoint, 1000)


def test_steps_that_a_resumed_job_repeats_are_not_charged_again(job: FineTuningJob) -> None:
    first = start(job)
    train(first, 1000)
    job_pause(job_id=job.id, actor="tests")
    attempt_stop(first.token)
    job_resume(job_id=job.id, actor="tests")
    second = start(job)
    train(second, 800)  # from a checkpoint at 700 tokens
    attempt_stop(second.token)  # gives way
    third = start(job)
    train(third, 1500)
    attempt_succeed(third.token, success(2000))
    assert [row["trained_tokens"] for row in usage(job)] == [1000, 0, 1000]
    assert [row["cost_microusd"] for row in usage(job)] == [3000, 0, 3000]
    assert [row["request_id"] for row in usage(job)] == [f"{job.id}-{number}" for number in (1, 2, 3)]


@pytest.mark.parametrize("is_lost", [False, True])
def test_a_failed_or_lost_attempt_is_wasted_and_its_checkpoint_charged_later(
    job: FineTuningJob, is_lost: bool
) -> None:
    first = start(job)
    train(first, 1000)
    if is_lost:
        expire(first.token, 3600)
        assert jobs_sweep() == 1
    else:
        attempt_fail(first.token, TRANSIENT)
    (row,) = usage(job)
    assert (row["outcome"], row["is_charged"]) == ("lost" if is_lost else "failed", False)
    assert (row["trained_tokens"], row["wasted_tokens"], row["cost_microusd"]) == (0, 1000, 0)
    second = start(job)
    attempt_succeed(second.token, success(2000))
    assert usage(job)[1]["trained_tokens"] == 2000


def test_an_attempt_that_trained_nothing_has_a_record_without_tokens(job: FineTuningJob) -> None:
    first = start(job)
    train(first, 1000)
    attempt_fail(first.token, TRANSIENT)
    second = start(job)
    job_cancel(job_id=job.id, actor="tests")
    attempt_stop(second.token)
    assert [(row["outcome"], row["trained_tokens"]) for row in usage(job)] == [
        ("failed", 0),
        ("cancelled", 0),
    ]
    failure = Failure(code="x", message="It failed.")
    other = queued(job.tenant)
    attempt_fail(start(other).token, failure)
    assert UsageRecord.objects.get(request_id=f"{other.id}-1").error_code == "x"


def test_the_price_is_that_of_the_base_model_when_the_job_is_created(cast: Cast) -> None:
    model_register(name="priced", actor="tests", training_price=7)
    prefix = split_key(cast.acme_key)
    request = JobRequest(base_model="priced", training_file="file-1")
    job = job_insert(request, tenant=cast.acme, actor=f"key:{prefix}")
    assert job.training_price == 7
    assert (
        job_insert(JobRequest(base_model="x", training_file="f"), tenant=cast.acme, actor="t").training_price
        == 0
    )


def test_usage_belongs_to_the_key_that_created_the_job(cast: Cast, job: FineTuningJob) -> None:
    key = ApiKey.objects.get(tenant=cast.acme)
    FineTuningJob.objects.filter(id=job.id).update(created_by=f"key:{key.prefix}")
    attempt_succeed(start(job).token, success(10))
    assert UsageRecord.objects.get().key == key
    assert spend_microusd(cast.acme.id, key.id, quarter_start(timezone.now() - dt.timedelta(hours=1))) == 30


def test_costs_are_rounded_up() -> None:
    assert [training_cost(tokens, 1_500_000) for tokens in (0, 1, 2)] == [0, 2, 3]
    assert training_cost(2**62, 10**12) == 10**15


def test_the_quota_counters_are_rebuilt_after_a_cost_of_training(
    job: FineTuningJob,
    redis_client: redis.Redis,
    django_capture_on_commit_callbacks: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counters = names.tenant_counters(str(job.tenant_id))
    redis_client.hset(counters, "incarnation", "one")
    current_claim = start(job)
    train(current_claim, 1000)
    with django_capture_on_commit_callbacks(execute=True):
        attempt_stop(current_claim.token)
    assert not redis_client.hexists(counters, "incarnation")
    monkeypatch.setattr(forgetting, "_client", lambda _: redis.Redis(port=1))
    forgetting.spend_changed(job.tenant_id)  # only logs


def reserved(job: FineTuningJob) -> int:
    """Return what the job reserves, in micro-dollars."""
    row = SpendReservation.objects.filter(source_id=job.id).first()
    return 0 if row is None else row.amount_microusd


def test_a_job_reserves_what_it_may_still_cost_until_it_ends(cast: Cast) -> None:
    model_register(name="base", actor="tests", training_price=PRICE)
    StoredFile.objects.create(
        id="file-1", tenant=cast.acme, filename="a", purpose="fine-tune", size_bytes=4000, sha256="0" * 64,
        storage_name="uploads/a",
    )  # fmt: skip
    key = ApiKey.objects.get(tenant=cast.acme)
    request = JobRequest(base_model="base", training_file="file-1", hyperparameters={"n_epochs": 2})
    job = job_insert(request, tenant=cast.acme, actor=f"key:{key.prefix}")
    assert reserved(job) == 2 * 1000 * 3
    reservation = SpendReservation.objects.get()
    assert (reservation.key_id, str(reservation)) == (key.id, reservation.source_id)
    job_queue(job_id=job.id, report={})
    current_claim = start(job)
    train(current_claim, 500)
    job_pause(job_id=job.id, actor="user:u")
    attempt_stop(current_claim.token)
    assert (reserved(job), UsageRecord.objects.get().cost_microusd) == (4500, 1500)
    job_resume(job_id=job.id, actor="user:u")
    attempt_succeed(start(job).token, success(2600))
    assert reserved(job) == 0


@pytest.mark.parametrize(("missing", "use"), [(0, 0), (0, 1), (1, 0)])
def test_a_failed_job_is_resumed_within_the_budget_only(cast: Cast, missing: int, use: int) -> None:
    model_register(name="base", actor="tests", training_price=PRICE)
    job = job_with_script(cast.acme, {}, hyperparameters={"n_epochs": 10})
    cost = reserved(job)
    attempt_fail(start(job).token, DISK_FULL)
    assert (cost, reserved(job)) == (30, 0)
    tenant_update(tenant_id=cast.acme.id, actor="tests", spend_per_day_microusd=cost - missing)
    if use:
        SpendReservation.objects.create(source_id="other", tenant_id=cast.acme.id, amount_microusd=use)
    if missing or use:
        with pytest.raises(JobBudgetError, match="can cost up to") as refusal:
            job_resume(job_id=job.id, actor="tests")
        remedy = "Raise the limit first." if missing else "is already spent or reserved."
        assert refusal_text(refusal.value).endswith(remedy)
    else:
        job_resume(job_id=job.id, actor="tests")
    job.refresh_from_db()
    assert (job.status == JobStatus.FAILED, reserved(job)) == ((True, 0) if missing or use else (False, cost))


def test_a_job_that_an_earlier_version_ended_reserves_nothing(cast: Cast) -> None:
    model_register(name="base", actor="tests", training_price=PRICE)
    ended_job, waiting = (job_with_script(cast.acme, {}, hyperparameters={"n_epochs": 10}) for _ in range(2))
    FineTuningJob.objects.filter(id=ended_job.id).update(status=JobStatus.SUCCEEDED)
    jobs_sweep()
    assert (reserved(ended_job), reserved(waiting)) == (0, 30)
