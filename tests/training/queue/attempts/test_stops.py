"""Stops of a trainer that look like failures: by a withdrawn pause, or a signal that stops the worker."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.people import Cast
from tests.stacks import wait_until
from tests.training.queue.claims.test_claim_order import claim
from tests.training.queue.harness.jobs import MakeJob
from training.choices import AttemptOutcome, RequestedAction
from training.engine.control import now
from training.jobs.services import job_pause, job_resume
from training.models import JobAttempt
from training.supervisor.attempt import AttemptRun
from training.supervisor.celery_signals import DRAINING
from training.supervisor.trainer.process import TrainerProcess

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _settings(cast: Cast, redis_url: str, settings: Any, tmp_path: Path) -> Iterator[None]:
    """Folders, a base model and a trainer of this test, and a worker that does not drain after it."""
    changes = {
        "training_dir": tmp_path / "training",
        "training_models": {"base": tmp_path},
        "training_command": f"{sys.executable} -m tests.training.queue.harness.scripted_trainer",
    }
    settings.CYLLM = settings.CYLLM.model_copy(update=changes)
    yield
    DRAINING.clear()


def test_a_trainer_that_stopped_for_a_withdrawn_pause_has_not_failed(
    make_job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The exit code of torchrun is 1 then, because its other processes lose the first one."""
    job = make_job({"steps": 2000, "step_s": 0.05, "stop_code": 1})
    current_claim = claim()
    assert current_claim is not None
    run = AttemptRun(current_claim, claimed_at=now())
    job_pause(job_id=job.id, actor="tests")
    close = TrainerProcess.close

    def withdraw_and_close(process: TrainerProcess) -> None:
        job_resume(job_id=job.id, actor="tests")
        wait_until(lambda: run._keeper.action == RequestedAction.NONE, "the supervisor knows")
        close(process)

    monkeypatch.setattr(TrainerProcess, "close", withdraw_and_close)
    monkeypatch.setattr(AttemptRun, "check", lambda _: None)  # the pause comes after the start of the trainer

    run.run()

    assert JobAttempt.objects.get(job=job).outcome == AttemptOutcome.RELEASED


@pytest.mark.criterion("2.3")
@pytest.mark.parametrize(
    ("script", "outcome"),
    [
        ({"exit_at": {"2": -signal.SIGUSR1}}, AttemptOutcome.RELEASED),
        (
            {"failed_at": {"2": [{"code": "internal_error", "message": "m", "next_step": ""}]}},
            AttemptOutcome.RELEASED,
        ),
        ({"exit_at": {"2": -signal.SIGKILL}}, AttemptOutcome.FAILED),
    ],
    ids=["signal", "lost process", "memory"],
)
def test_a_signal_that_stops_the_worker_together_with_its_trainer_fails_no_attempt(
    script: dict[str, Any], outcome: AttemptOutcome, make_job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A trainer that has just started, or torchrun's processes, can't save a checkpoint then."""
    job = make_job({"steps": 5, **script})
    current_claim = claim()
    assert current_claim is not None
    close = TrainerProcess.close

    def drain_and_close(process: TrainerProcess) -> None:
        DRAINING.set()
        close(process)

    monkeypatch.setattr(TrainerProcess, "close", drain_and_close)

    AttemptRun(current_claim, claimed_at=now()).run()

    assert JobAttempt.objects.get(job=job).outcome == outcome
