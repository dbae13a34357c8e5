"""Fencing of attempts, the sweep of lost ones, and preemption."""

from __future__ import annotations

import datetime as dt
import threading
import uuid
from typing import Any

import pytest
from django.db import DatabaseError, IntegrityError, connection, transaction
from django.utils import timezone

from tests.patience import PATIENCE_S
from tests.people import Cast
from tests.stacks import wait_until
from tests.training.queue.claims.test_claim_order import claim, queued
from training.choices import AttemptOutcome, JobPhase, JobStatus, RequestedAction
from training.jobs.failures import Failure
from training.jobs.services import job_cancel, job_pause, job_resume
from training.models import FineTuningJob, JobAttempt, TrainingPolicy
from training.queue.attempts import AttemptFencedError, attempt_write, lease_renew, requested_action
from training.queue.claim import Claim
from training.queue.endings import Success, attempt_fail, attempt_stop, attempt_succeed
from training.queue.preemption import preemption_request
from training.queue.sweep import jobs_sweep

SUCCESS = Success(fine_tuned_model="ft:x", result={}, trained_tokens=1)
TRANSIENT = Failure(code="trainer_crashed", message="It crashed.", is_transient=True)


@pytest.fixture(autouse=True)
def _servers(cast: Cast, redis_url: str) -> None:
    """Tenants and a broker."""


def running(cast: Cast, **fields: Any) -> tuple[FineTuningJob, Claim]:
    """Return a job that a worker runs."""
    job = queued(cast.acme, **fields)
    current_claim = claim()
    assert current_claim is not None
    assert current_claim.job_id == job.id
    FineTuningJob.objects.filter(id=job.id).update(phase=JobPhase.TRAINING)
    job.refresh_from_db()
    return job, current_claim


def expire(token: uuid.UUID, seconds: float) -> None:
    """Move the end of a lease into the past."""
    moment = timezone.now() - dt.timedelta(seconds=seconds)
    JobAttempt.objects.filter(id=token).update(lease_until=moment)


@pytest.mark.criterion("2.3")
@pytest.mark.parametrize("reason", ["ended", "expired", "unknown"])
def test_every_write_of_a_fenced_attempt_is_refused(cast: Cast, reason: str) -> None:
    job, current_claim = running(cast)
    token = current_claim.token
    if reason == "ended":
        attempt_fail(token, TRANSIENT)
    elif reason == "expired":
        expire(token, 0.001)
    else:
        token = uuid.uuid4()
    job.refresh_from_db()
    before = (job.status, job.next_event, job.step)
    for write in (
        lambda: lease_renew(token),
        lambda: requested_action(token),
        lambda: attempt_stop(token),
        lambda: attempt_succeed(token, SUCCESS),
        lambda: attempt_fail(token, TRANSIENT),
    ):
        with pytest.raises(AttemptFencedError):
            write()
    job.refresh_from_db()
    assert (job.status, job.next_event, job.step) == before


def test_a_failed_write_leaves_nothing_behind(cast: Cast) -> None:
    job, current_claim = running(cast)

    def write() -> None:
        with attempt_write(current_claim.token) as locked_attempt:
            locked_attempt.job.step = 99
            locked_attempt.job.save()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write()
    job.refresh_from_db()
    assert job.step == 0


@pytest.mark.django_db(transaction=True)
def test_a_worker_frozen_in_a_transaction_does_not_keep_its_job(cast: Cast, settings: Any) -> None:
    settings.CYLLM = settings.CYLLM.model_copy(update={"training_lease_s": 3.0})
    job, current_claim = running(cast)
    is_frozen, end = threading.Event(), threading.Event()
    errors: list[Exception] = []

    def freeze() -> None:
        try:
            with attempt_write(current_claim.token):
                is_frozen.set()
                end.wait(PATIENCE_S)
        except DatabaseError as error:
            errors.append(error)
        finally:
            connection.close()

    thread = threading.Thread(target=freeze)
    thread.start()
    assert is_frozen.wait(PATIENCE_S)
    wait_until(lambda: jobs_sweep() == 1, "the sweep gets the rows")
    end.set()
    thread.join()
    job.refresh_from_db()
    assert job.status == JobStatus.QUEUED
    assert len(errors) == 1


@pytest.mark.case("training.23")
def test_the_database_refuses_a_second_running_attempt(cast: Cast) -> None:
    job, _ = running(cast)
    now = timezone.now()
    with pytest.raises(IntegrityError), transaction.atomic():
        JobAttempt.objects.create(job=job, number=2, worker_id="x", claimed_at=now, lease_until=now)


@pytest.mark.case("training.24")
@pytest.mark.criterion("2.3")
def test_a_lost_worker_costs_an_attempt_and_after_too_many_the_job_fails(cast: Cast) -> None:
    job, current_claim = running(cast)
    expire(current_claim.token, 10)  # less than the sweep waits: half a lease
    assert jobs_sweep() == 0
    for number in (1, 2, 3):
        expire(current_claim.token, 20)
        assert jobs_sweep() == 1
        job.refresh_from_db()
        if number < 3:
            assert job.status == JobStatus.QUEUED
            assert job.not_before is not None
            assert job.not_before > timezone.now()
            FineTuningJob.objects.filter(id=job.id).update(not_before=None)
            again = claim()
            assert again is not None
            current_claim = again
    assert job.status == JobStatus.FAILED
    assert job.error_code == "worker_lost"
    assert "This was attempt 3, the last one. Check the training worker's log" in job.error_message
    assert jobs_sweep() == 0


@pytest.mark.parametrize(
    ("request_", "status", "outcome"),
    [(job_cancel, JobStatus.CANCELLED, "cancelled"), (job_pause, JobStatus.PAUSED, "paused")],
)
def test_a_request_outlives_the_worker_that_should_have_followed_it(
    cast: Cast, request_: Any, status: str, outcome: str
) -> None:
    job, current_claim = running(cast)
    request_(job_id=job.id, actor="tests")
    expire(current_claim.token, 20)
    assert jobs_sweep() == 1
    job.refresh_from_db()
    assert (job.status, job.requested_action) == (status, RequestedAction.NONE)
    assert JobAttempt.objects.get(id=current_claim.token).outcome == outcome


def test_preemptions_and_restarts_of_workers_cost_no_attempt(cast: Cast) -> None:
    job, current_claim = running(cast)
    for _ in range(5):
        attempt_stop(current_claim.token)
        again = claim()
        assert again is not None
        current_claim = again
    attempt_fail(current_claim.token, TRANSIENT)
    job.refresh_from_db()
    assert (job.status, job.attempt_count) == (JobStatus.QUEUED, 6)


@pytest.mark.criterion("2.7")
def test_a_waiting_job_of_higher_priority_makes_the_least_urgent_one_give_way(cast: Cast) -> None:
    low, low_claim = running(cast, priority=2)
    running(cast, priority=4)
    urgent = queued(cast.globex, priority=6)
    assert preemption_request("default") is None  # a free worker would have claimed it by now
    assert preemption_request("default", wait_s=0) == low.id
    assert preemption_request("default", wait_s=0) is None  # one at a time
    attempt_stop(low_claim.token)
    low.refresh_from_db()
    assert (low.status, low.requested_action) == (JobStatus.QUEUED, RequestedAction.NONE)
    assert JobAttempt.objects.get(id=low_claim.token).outcome == AttemptOutcome.RELEASED
    following = [claim(), claim()]
    assert [current_claim.job_id for current_claim in following if current_claim] == [urgent.id, low.id]


@pytest.mark.criterion("2.7")
def test_a_job_gives_way_only_to_one_that_its_worker_can_train(cast: Cast) -> None:
    able = queued(cast.acme, priority=4)
    queued(cast.acme, priority=1)
    assert claim(base_models=("base", "second")) is not None
    assert claim(base_models=("base",)) is not None
    FineTuningJob.objects.update(phase=JobPhase.TRAINING)
    queued(cast.globex, base_model="third", priority=9)  # of no worker
    assert preemption_request("default", wait_s=0) is None
    queued(cast.globex, base_model="second", priority=8)
    assert preemption_request("default", wait_s=0) == able.id


@pytest.mark.parametrize("reason", ["policy", "priority", "class", "phase", "limit"])
def test_a_job_gives_way_only_for_a_reason(cast: Cast, reason: str) -> None:
    job, _ = running(cast, priority=5)
    fields: dict[str, Any] = {"priority": 9}
    if reason == "policy":
        TrainingPolicy.objects.create(tenant=cast.acme, allows_preemption=False)
    elif reason == "priority":
        fields["priority"] = 5
    elif reason == "class":
        fields["worker_class"] = "gpu"
    elif reason == "phase":
        FineTuningJob.objects.filter(id=job.id).update(phase=JobPhase.VERIFYING)
    else:
        TrainingPolicy.objects.create(tenant=cast.globex, max_running_jobs=0)
    queued(cast.globex, **fields)
    assert preemption_request("default", wait_s=0) is None
    assert preemption_request("gpu", wait_s=0) is None


def test_a_withdrawn_pause_keeps_the_job_in_the_queue(cast: Cast) -> None:
    job, current_claim = running(cast)
    job_pause(job_id=job.id, actor="tests")
    assert requested_action(current_claim.token) == RequestedAction.PAUSE
    job_resume(job_id=job.id, actor="tests")
    attempt_stop(current_claim.token)  # the trainer had stopped already
    job.refresh_from_db()
    assert job.status == JobStatus.QUEUED
