"""A trained job that waits for an inference worker lets other jobs run, and is not trained again."""

from __future__ import annotations

import datetime as dt
import sys
from pathlib import Path
from typing import Any

import pytest
from django.db.models import F

from api.console.job_data.state import job_state
from tenants.models import UsageRecord
from tests.people import Cast
from tests.training.queue.claims.test_claim_order import claim, queued
from tests.training.queue.harness.celery_app import publish_unverified
from tests.training.queue.harness.jobs import MakeJob, messages
from training.choices import AttemptOutcome, JobPhase
from training.engine.checkpoints.manifest import MANIFEST, seal_folder
from training.engine.control import now
from training.jobs.services import job_pause, job_resume
from training.models import FineTuningJob, JobAttempt, TrainingPolicy
from training.queue.claim import Claim, others_wait
from training.queue.endings import attempt_yield
from training.supervisor import attempt
from training.supervisor.attempt import AttemptRun, YieldedAttemptError
from training.supervisor.results import publication

WAITING = "Other jobs run while this one waits for an inference worker of its base model"


@pytest.fixture(autouse=True)
def _settings(cast: Cast, redis_url: str, settings: Any, tmp_path: Path) -> None:
    """Folders, a base model and a trainer of this test."""
    changes = {
        "training_dir": tmp_path / "training",
        "training_models": {"base": tmp_path},
        "training_command": f"{sys.executable} -m tests.training.queue.harness.scripted_trainer",
        "training_worker_wait_s": 600.0,
        "training_max_attempts": 2,
    }
    settings.CYLLM = settings.CYLLM.model_copy(update=changes)


def next_claim() -> Claim:
    """Claim a job, whatever its delay."""
    FineTuningJob.objects.update(not_before=None)
    result = claim()
    assert result is not None
    return result


def state(job: FineTuningJob) -> tuple[str, str, str]:
    """Return status, phase and error code of a job."""
    job.refresh_from_db()
    return job.status, job.phase, job.error_code


@pytest.mark.django_db
def test_a_waiting_attempt_yields_only_after_some_patience_and_to_another_job(
    cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    queued(cast.acme)
    run = AttemptRun(next_claim(), claimed_at=now())
    monkeypatch.setattr(attempt, "PATIENCE_S", 0.0)
    monkeypatch.setattr(attempt, "YIELD_CHECK_S", 0.0)
    run.report_phase(JobPhase.WAITING_FOR_WORKER)
    run.report_phase(JobPhase.WAITING_FOR_WORKER)  # nobody else needs the worker
    queued(cast.globex)
    monkeypatch.setattr(attempt, "PATIENCE_S", 300.0)
    patient = AttemptRun(run._claim, claimed_at=now())
    for _ in range(2):
        patient.report_phase(JobPhase.WAITING_FOR_WORKER)
    with pytest.raises(YieldedAttemptError):
        run.report_phase(JobPhase.WAITING_FOR_WORKER)
    run.report_phase(JobPhase.VERIFYING)
    run.report_phase(JobPhase.VERIFYING)


@pytest.mark.django_db
def test_a_waiting_job_makes_room_for_the_next_one_of_a_tenant_at_its_limit(cast: Cast) -> None:
    queued(cast.acme)
    token = next_claim().token
    TrainingPolicy.objects.create(tenant=cast.acme, max_running_jobs=1)
    assert not others_wait(token)
    other = queued(cast.acme)
    assert others_wait(token)
    attempt_yield(token)
    other_claim = claim()
    assert other_claim is not None
    assert other_claim.job_id == other.id


@pytest.mark.django_db
def test_others_run_while_a_job_waits_until_it_has_waited_long_enough(cast: Cast) -> None:
    job, other = queued(cast.acme), queued(cast.globex)
    first = next_claim()
    assert first.job_id == job.id
    attempt_yield(first.token)
    assert state(job) == ("queued", "waiting_for_worker", "")
    assert messages(job)[-1] == WAITING
    assert job_state(job).reason == "waiting for an inference worker of the base model"
    record = UsageRecord.objects.get(request_id=f"{job.id}-1")
    assert (record.outcome, record.error_code) == ("completed", "")
    other_claim = claim()
    assert other_claim is not None
    assert other_claim.job_id == other.id
    attempt_yield(next_claim().token)
    assert state(job) == ("queued", "waiting_for_worker", "")
    longest = dt.timedelta(seconds=600 * 2 + 1)
    attempts = JobAttempt.objects.filter(job=job).order_by("number")
    attempts.filter(id=first.token).update(claimed_at=F("claimed_at") - longest)  # it was trained for long
    attempt_yield(next_claim().token)
    assert state(job) == ("queued", "waiting_for_worker", "")
    attempts.filter(id=first.token).update(ended_at=F("ended_at") - longest)
    job_pause(job_id=job.id, actor="tests")
    job_resume(job_id=job.id, actor="tests")  # it was paused for long
    attempt_yield(next_claim().token)
    assert state(job) == ("queued", "waiting_for_worker", "")
    FineTuningJob.objects.filter(id=job.id).update(queued_at=F("queued_at") - longest)
    attempt_yield(next_claim().token)
    assert state(job) == ("failed", "", "no_inference_worker")
    outcomes = list(attempts.values_list("outcome", flat=True))
    assert outcomes == [*[AttemptOutcome.RELEASED] * 4, AttemptOutcome.FAILED]


@pytest.mark.django_db
def test_a_job_that_is_paused_while_it_waits_is_paused(cast: Cast) -> None:
    job = queued(cast.acme)
    token = next_claim().token
    job_pause(job_id=job.id, actor="tests")
    attempt_yield(token)
    assert state(job) == ("paused", "", "")


@pytest.mark.django_db(transaction=True)
def test_a_job_that_has_let_others_run_is_published_without_training_again(
    make_job: MakeJob, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make_job({"steps": 3})
    folder: Path = settings.CYLLM.training_dir / job.id

    def wait(*_: Any, **__: Any) -> Any:
        raise YieldedAttemptError

    def run() -> list[str]:
        AttemptRun(next_claim(), claimed_at=now()).run()
        return (folder / "trace").read_text().split("\n")

    monkeypatch.setattr(publication, "publish_result", wait)
    trace = run()
    assert state(job)[:2] == ("queued", "waiting_for_worker")
    (folder / "result").mkdir()
    (folder / "result" / "weights").write_bytes(b"x")
    seal_folder(folder / "result")
    assert run() == trace
    (folder / "result" / "weights").write_bytes(b"y")  # damaged: trained again
    assert len(later_trace := run()) > len(trace)
    (folder / "result" / MANIFEST).unlink()
    seal_folder(folder / "result")
    monkeypatch.setattr(publication, "publish_result", publish_unverified)
    assert run() == later_trace
    assert (state(job)[0], job.trained_tokens) == ("succeeded", 150)
    charges = JobAttempt.objects.order_by("number").values_list("charged_tokens", flat=True)
    assert list(charges) == [150, 0, 0, 0]
