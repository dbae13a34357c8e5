"""A pause that is withdrawn while the trainer stops for it."""

from __future__ import annotations

import sys
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
from training.supervisor.trainer.process import TrainerProcess


@pytest.mark.django_db(transaction=True)
def test_a_trainer_that_stopped_for_a_withdrawn_pause_has_not_failed(
    cast: Cast,
    make_job: MakeJob,
    redis_url: str,
    settings: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The exit code of torchrun is 1 then, because its other processes lose the first one."""
    changes = {
        "training_dir": tmp_path / "training",
        "training_models": {"base": tmp_path},
        "training_command": f"{sys.executable} -m tests.training.queue.harness.scripted_trainer",
    }
    settings.CYLLM = settings.CYLLM.model_copy(update=changes)
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
