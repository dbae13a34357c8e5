"""A job never starts anew because its worker does not have the checkpoint to continue from."""

from __future__ import annotations

import datetime as dt
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from tests.people import Cast
from tests.training.queue.harness.jobs import job_with_script, messages
from training.choices import JobStatus
from training.engine.checkpoints.manifest import folder_name
from training.engine.control import now
from training.engine.events import CheckpointSaved
from training.jobs.checkpoint_jobs import checkpoint_states
from training.jobs.event_retention import events_purge
from training.jobs.services import job_resume
from training.models import FineTuningJob, JobAttempt, JobCheckpoint
from training.queue.claim import Claim, job_claim
from training.queue.endings import attempt_stop
from training.supervisor.attempt import AttemptRun
from training.supervisor.folders import JobFolder
from training.supervisor.persistence import run_once
from training.supervisor.results.recording import events_record
from training.supervisor.trainer.inputs import InputError
from training.supervisor.trainer.resumption import require_checkpoint

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("redis_url")]


def _claim() -> Claim:
    FineTuningJob.objects.update(not_before=None)
    claim = job_claim(worker_class="default", worker_id="w", base_models=["base"])
    assert claim is not None
    return claim


def _saved(step: int) -> CheckpointSaved:
    return CheckpointSaved(
        step=step,
        folder=folder_name(step),
        train_loss=1.0,
        train_token_accuracy=0.5,
        valid_loss=None,
        valid_token_accuracy=None,
        is_best=False,
    )


def _states_if_failed(job: FineTuningJob) -> dict[int, str]:
    """Return the states that a job's checkpoints would have by their steps if it failed now."""
    failed_job = FineTuningJob.objects.get(id=job.id)
    failed_job.status, failed_job.finished_at = JobStatus.FAILED, timezone.now()
    states = checkpoint_states(failed_job)
    return {row.step: str(states.of(row)) for row in JobCheckpoint.objects.filter(job=job)}


def _interrupted_job(cast: Cast, *steps: int) -> FineTuningJob:
    """Return a queued job whose first attempt has recorded checkpoints."""
    job = job_with_script(cast.acme, {})
    claim = _claim()
    events_record(claim.token, *map(_saved, steps))
    attempt_stop(claim.token)
    job.refresh_from_db()
    return job


def test_a_worker_without_the_checkpoint_fails_the_attempt_with_the_remedy(
    cast: Cast, settings: Any, tmp_path: Path
) -> None:
    changes = {"training_dir": tmp_path, "training_max_attempts": 2}
    settings.CYLLM = settings.CYLLM.model_copy(update=changes)
    job = _interrupted_job(cast, 10, 20)
    statuses = []
    for _ in range(2):
        claimed_at = now()
        AttemptRun(_claim(), claimed_at=claimed_at).run()
        job.refresh_from_db()
        statuses.append(job.status)
    assert statuses == ["queued", "failed"]
    assert job.error_code == "checkpoint_unavailable"
    assert "checkpoint of step 20" in job.error_message
    assert "the same CYLLM_TRAINING_DIR; then resume the job" in job.error_message
    assert set(JobAttempt.objects.filter(job=job, number__gt=1).values_list("error_code", flat=True)) == {
        "checkpoint_unavailable"
    }
    assert job_resume(job_id=job.id, actor="tests").status == "queued"


@pytest.mark.parametrize(
    ("stored_steps", "is_refused"),
    [((), True), ((10,), True), ((10, 20), False), ((30,), False)],
    ids=["none", "an old one", "the latest", "one that was not reported"],
)
def test_the_latest_recorded_checkpoint_or_a_later_one_is_required(
    cast: Cast, tmp_path: Path, stored_steps: tuple[int, ...], is_refused: bool
) -> None:
    job = _interrupted_job(cast, 10, 20)
    folder = JobFolder(tmp_path)
    for step in stored_steps:
        (folder.checkpoints / folder_name(step)).mkdir(parents=True)
    if is_refused:
        with pytest.raises(InputError, match="checkpoint of step 20"):
            require_checkpoint(job, folder, run_once)
    else:
        require_checkpoint(job, folder, run_once)


def test_checkpoints_behind_a_later_attempt_are_not_required(cast: Cast, tmp_path: Path) -> None:
    job = _interrupted_job(cast, 10, 20)
    folder = JobFolder(tmp_path)
    (folder.checkpoints / folder_name(10)).mkdir(parents=True)
    # That of step 20 was damaged: an attempt has continued from the one before.
    FineTuningJob.objects.filter(id=job.id).update(step=12)
    job.refresh_from_db()
    require_checkpoint(job, folder, run_once)


def test_a_job_resumed_after_the_retention_may_start_from_the_first_step_and_says_so(
    cast: Cast, settings: Any, tmp_path: Path
) -> None:
    source = job_with_script(cast.acme, {})
    JobCheckpoint.objects.create(id="ftckpt_1", job=source, step=5, folder=folder_name(5))
    ended_at = timezone.now() - dt.timedelta(hours=settings.CYLLM.training_retention_h + 1)
    rows = FineTuningJob.objects.filter(id=source.id)
    rows.update(status="failed", error_code="disk_full", step=5, finished_at=timezone.now())
    with pytest.raises(InputError):
        require_checkpoint(job_resume(job_id=source.id, actor="tests"), JobFolder(tmp_path), run_once)
    rows.update(status="failed", error_code="disk_full", step=5, finished_at=ended_at)
    job = job_resume(job_id=source.id, actor="tests")
    assert any("training starts from the first step" in message for message in messages(job))
    require_checkpoint(job, JobFolder(tmp_path), run_once)


def test_a_job_that_began_anew_requires_only_checkpoints_that_it_saved_since(
    cast: Cast, settings: Any, tmp_path: Path
) -> None:
    """It may stop before it reaches the steps of the checkpoints that were removed, or between them."""
    job, folder = _interrupted_job(cast, 5, 10), JobFolder(tmp_path)
    ended_at = timezone.now() - dt.timedelta(hours=settings.CYLLM.training_retention_h + 1)
    rows = FineTuningJob.objects.filter(id=job.id)
    rows.update(status="failed", error_code="disk_full", finished_at=ended_at)
    job_resume(job_id=job.id, actor="tests")

    rows.update(step=8)
    require_checkpoint(rows.get(), folder, run_once)
    assert _states_if_failed(job) == {5: "removed", 10: "removed"}

    events_record(_claim().token, _saved(10))
    assert _states_if_failed(job) == {5: "removed", 10: "no_base"}, "kept, but its base is not registered"
    with pytest.raises(InputError, match="checkpoint of step 10"):
        require_checkpoint(rows.get(), folder, run_once)

    _migrate_checkpoints()
    ended_at = timezone.now() - dt.timedelta(days=365)
    rows.update(status="failed", error_code="disk_full", finished_at=ended_at)
    assert events_purge(before=timezone.now(), actor="tests") > 0
    assert _states_if_failed(job) == {5: "removed", 10: "no_base"}
    rows.update(step=8)
    require_checkpoint(rows.get(), folder, run_once)


def _migrate_checkpoints() -> None:
    """Turn the checkpoints into those of an earlier version, which told them from events, and back."""
    migration = import_module("training.migrations.0010_outdated_checkpoints")
    JobCheckpoint.objects.update(is_outdated=False)
    with connection.cursor() as cursor:
        cursor.execute(migration.MARK)
