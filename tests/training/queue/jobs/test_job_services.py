"""Changes of jobs by users: allowed transitions, audit, events, doorbells."""

from __future__ import annotations

import itertools
import logging
from typing import Any

import pytest

from tenants.models import AdminAudit
from tests.people import Cast
from tests.ports import reserved_port
from tests.training.queue.claims.test_claim_order import claim, queued
from tests.training.queue.harness.jobs import job_with_script, messages
from training.choices import JobStatus, RequestedAction
from training.jobs import doorbells
from training.jobs.failures import Failure
from training.jobs.services import RESUMABLE_FAILURES, job_cancel, job_pause, job_resume
from training.jobs.state import job_fail, job_queue
from training.jobs.transition_errors import JobTransitionError
from training.models import FineTuningJob
from training.queue.endings import attempt_fail
from training.queue.sweep import WORKER_LOST
from training.supervisor.trainer.diagnosis import OUT_OF_MEMORY

ACTIONS = {"cancel": job_cancel, "pause": job_pause, "resume": job_resume}
# The status, or "status requested_action", that each action leads to; "-" if it is refused.
TRANSITIONS = {
    "validating_files": ("cancelled", "paused", "validating_files"),
    "queued": ("cancelled", "paused", "queued"),
    "running": ("running cancel", "running pause", "running"),
    "running pause": ("running cancel", "running pause", "running"),
    "running preempt": ("running cancel", "running pause", "running preempt"),
    "running cancel": ("running cancel", "-", "-"),
    "paused": ("cancelled", "paused", "queued"),
    "succeeded": ("-", "-", "-"),
    "failed": ("-", "-", "-"),
    "cancelled": ("-", "-", "-"),
}


@pytest.fixture(autouse=True)
def _servers(cast: Cast, redis_url: str) -> None:
    """Tenants and a broker."""


def state(job: FineTuningJob) -> str:
    """Return the status and the requested action."""
    job.refresh_from_db()
    return f"{job.status} {job.requested_action}".strip()


@pytest.mark.criterion("2.7")
@pytest.mark.parametrize(("before", "action"), list(itertools.product(TRANSITIONS, ACTIONS)))
def test_each_action_has_one_effect_in_each_state(cast: Cast, before: str, action: str) -> None:
    job = queued(cast.acme)
    status, _, requested_action = before.partition(" ")
    FineTuningJob.objects.filter(id=job.id).update(status=status, requested_action=requested_action)
    expected = TRANSITIONS[before][list(ACTIONS).index(action)]
    audits = AdminAudit.objects.filter(object_id=job.id)
    audit_count, event_count = audits.count(), len(messages(job))
    if expected == "-":
        with pytest.raises(JobTransitionError) as excinfo:
            ACTIONS[action](job_id=job.id, actor="tests")
        assert excinfo.value.action == action
        expected = before
    else:
        ACTIONS[action](job_id=job.id, actor="tests")
    assert state(job) == expected
    changes = int(expected != before)
    assert audits.count() - audit_count == changes
    assert len(messages(job)) - event_count == changes


def test_a_job_is_created_with_audit_record_and_events(cast: Cast) -> None:
    job = queued(cast.acme, seed=7)
    record = AdminAudit.objects.get(object_id=job.id)
    assert (record.action, record.actor, record.tenant_id) == ("job.create", "tests", cast.acme.id)
    assert messages(job) == [
        f"Created fine-tuning job: {job.id}",
        "Validating training file: file-1",
        "Files validated, moving job to queued state",
    ]
    assert job.seed == 7
    assert queued(cast.acme).seed != queued(cast.acme).seed


def test_a_job_without_a_report_waits_for_its_check(cast: Cast) -> None:
    good, bad = queued(cast.acme, report=None), queued(cast.acme, report=None)
    job_queue(job_id=good.id, report={"examples": 3})
    job_fail(job_id=bad.id, code="invalid_file", message="Line 3 is not JSON.", param="training_file")
    assert (state(good), state(bad)) == ("queued", "failed")
    bad.refresh_from_db()
    assert (bad.error_code, bad.error_message, bad.error_param) == (
        "invalid_file",
        "Line 3 is not JSON.",
        "training_file",
    )
    job_queue(job_id=bad.id, report={"examples": 3})  # too late
    assert state(bad) == "failed"
    assert claim() is not None


@pytest.mark.django_db(transaction=True)
@pytest.mark.case("training.28")
def test_an_unreachable_broker_delays_nothing_and_fails_nothing(
    cast: Cast, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from cyllm_site.celery import app

    monkeypatch.setitem(app.conf, "broker_url", f"redis://127.0.0.1:{reserved_port()}/0")
    with caplog.at_level(logging.WARNING, "cyllm.training"):
        job = queued(cast.acme)
    assert job.status == JobStatus.QUEUED
    assert "doorbell of training.default not sent, the sweep rings again" in caplog.text
    assert job.requested_action == RequestedAction.NONE


@pytest.mark.case("training.27")
@pytest.mark.django_db(transaction=True)
def test_the_most_urgent_doorbell_is_read_first(cast: Cast, redis_client: Any) -> None:
    from cyllm_site.celery import app

    for priority in (5, 0, 9, 5):
        queued(cast.acme, priority=priority)
    with app.connection_for_read() as connection:
        channel: Any = connection.default_channel
        messages_read = [channel.basic_get("training.default", no_ack=True) for _ in range(4)]
    assert [message.properties["priority"] for message in messages_read] == [0, 4, 4, 9]


def test_the_sweep_does_not_pile_up_doorbells(cast: Cast, redis_client: Any) -> None:
    from cyllm_site.celery import app

    for _ in range(3):
        assert doorbells.ring("gpu", 5, unless_pending=True)
    with app.connection_for_read() as connection:
        channel: Any = connection.default_channel
        queue = channel.queue_declare("training.gpu", passive=True)
    assert queue.message_count == 1


@pytest.mark.parametrize(("driver", "celery_priority"), [("redis", 0), ("amqp", 9)])
def test_the_highest_priority_is_the_brokers_highest(driver: str, celery_priority: int) -> None:
    assert doorbells.message_priority(driver, 9) == celery_priority


@pytest.mark.parametrize("code", ["disk_full", "checkpoint_unwritable", "worker_lost"])
def test_a_job_that_failed_for_a_cause_outside_of_it_is_resumed_with_all_its_attempts(
    cast: Cast, settings: Any, code: str
) -> None:
    settings.CYLLM = settings.CYLLM.model_copy(update={"training_max_attempts": 2})
    failure = Failure(code=code, message="The disk is full.", is_transient=True)
    job = job_with_script(cast.acme, {})

    def fail() -> str:
        FineTuningJob.objects.filter(id=job.id).update(not_before=None)
        current_claim = claim()
        assert current_claim is not None
        attempt_fail(current_claim.token, failure)
        return state(job)

    assert [fail(), fail()] == ["queued", "failed"]
    job_resume(job_id=job.id, actor="tests")
    assert state(job) == "queued"
    assert (job.error_code, job.error_message, job.finished_at) == ("", "", None)
    assert messages(job)[-1] == "Fine-tuning job resumed, moved to queued state"
    audit = AdminAudit.objects.get(object_id=job.id, action="job.resume")
    states = [values["status"] for values in (audit.before, audit.after) if values is not None]
    assert states == ["failed", "queued"]
    assert [fail(), fail()] == ["queued", "failed"]


def test_a_job_that_failed_for_a_cause_of_its_own_is_not_resumed(cast: Cast) -> None:
    job, failure = queued(cast.acme), Failure(code="non_finite_loss", message="The loss is not finite.")
    current_claim = claim()
    assert current_claim is not None
    attempt_fail(current_claim.token, failure)
    with pytest.raises(JobTransitionError, match="can't be resumed: its status is failed"):
        job_resume(job_id=job.id, actor="tests")
    assert (state(job), job.error_code) == ("failed", "non_finite_loss")


@pytest.mark.parametrize("failure", [WORKER_LOST, OUT_OF_MEMORY])
def test_failures_of_the_worker_advise_resuming_the_job(failure: Failure) -> None:
    assert failure.code in RESUMABLE_FAILURES
    assert "resume the job" in failure.next_step.lower()
