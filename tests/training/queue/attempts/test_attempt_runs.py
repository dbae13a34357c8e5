"""Attempts on a real Celery worker, with a trainer that needs no model."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from tenants.files.models import StoredFile
from tenants.files.selectors import file_open
from tests.patience import PATIENCE_S
from tests.processes import is_dead
from tests.stacks import wait_until
from tests.training.queue.harness.celery_workers import LEASE_S, SharedWorkers, TrainingWorker
from tests.training.queue.harness.jobs import MakeJob, messages, wait_for_status
from training.choices import AttemptOutcome, JobStatus
from training.jobs.services import job_cancel, job_pause, job_resume
from training.models import FineTuningJob, JobAttempt, JobEvent
from training.queue.preemption import preemption_request
from training.queue.sweep import jobs_sweep
from training.supervisor.attempt import EXIT_GRACE_S
from training.supervisor.orphans import RECORD_FILE

LONG = {"steps": 2000, "step_s": 0.05, "checkpoint_steps": 5}


def trace(folder: Path, job: FineTuningJob) -> list[tuple[int, float, str, int]]:
    """Return the trainer's trace: attempt, time, word, number."""
    path = folder / "training" / job.id / "trace"
    lines = path.read_text().splitlines() if path.exists() else []
    return [(int(a), float(t), word, int(n)) for a, t, word, n in (line.split() for line in lines)]


def numbers(folder: Path, job: FineTuningJob, word: str, attempt: int | None = None) -> list[int]:
    """Return the numbers of the trace's lines with this word."""
    return [n for a, _, w, n in trace(folder, job) if w == word and attempt in (None, a)]


def wait_for_step(folder: Path, job: FineTuningJob, step: int) -> None:
    """Wait until the trainer has taken a step."""
    wait_until(lambda: step in numbers(folder, job, "step"), f"the trainer takes step {step}")


def sweep_until(condition: Any, name: str) -> None:
    """Sweep, as beat does, until a condition holds."""

    def swept() -> bool:
        jobs_sweep()
        return bool(condition())

    wait_until(swept, name)


def outcomes(job: FineTuningJob) -> list[str]:
    """Return the outcomes of a job's attempts."""
    return list(JobAttempt.objects.filter(job=job).order_by("number").values_list("outcome", flat=True))


def assert_one_attempt_at_a_time(folder: Path, job: FineTuningJob) -> None:
    """Check that no trainer took a step after the start of a later one."""
    latest = 0
    for attempt, _, _, _ in trace(folder, job):
        assert attempt >= latest, trace(folder, job)
        latest = attempt


@pytest.mark.case("training.25", "training.29")
def test_a_created_job_runs_to_its_end_in_a_clean_process(
    worker: TrainingWorker, make_job: MakeJob, folder: Path
) -> None:
    job = make_job({"steps": 7, "junk": True, "checkpoint_steps": 3}, correlation_id="corr-7")
    wait_for_status(job, "succeeded")
    assert (job.step, job.total_steps, job.trained_tokens, job.phase) == (7, 7, 350, "")
    facts = json.loads((folder / "training" / job.id / "facts.json").read_text())
    assert facts["niceness"] >= 10
    assert not [name for name in facts["environment"] if name.startswith("CYLLM_")]
    assert facts["session"] == numbers(folder, job, "start")[0]
    assert not (folder / "training" / job.id / RECORD_FILE).exists()  # that id may soon be another's
    assert (folder / "training" / job.id).stat().st_mode & 0o777 == 0o700

    events = list(JobEvent.objects.filter(job=job).order_by("number"))
    assert [event.number for event in events] == list(range(1, len(events) + 1))
    metrics = [event for event in events if event.type == "metrics"]
    assert [event.message for event in metrics][:2] == [
        "Step 1/7: training loss=1.0000",
        "Step 2/7: training loss=0.5000",
    ]
    assert metrics[6].data["train_loss"] == pytest.approx(1 / 7)
    assert sorted(job.checkpoints.values_list("step", flat=True)) == [3, 6]
    assert events[-1].message == "The job has successfully completed"

    assert job.result is not None
    [file_id] = job.result["result_files"]
    with file_open(StoredFile.objects.get(id=file_id, purpose="fine-tune-results")) as content:
        lines = content.read().decode().splitlines()
    assert lines[:2] == ["step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy", "1,1.0,0.5,,"]
    assert len(lines) == 8

    log = worker.output
    assert "[corr-7]" in log
    assert "not an event: Loading: 100%" in log
    assert len(max(log.splitlines(), key=len)) < 1000


@pytest.mark.case("training.23", "training.26")
@pytest.mark.criterion("2.3")
def test_a_killed_worker_takes_its_trainer_along_and_the_job_continues_elsewhere(
    worker: TrainingWorker, shared_workers: SharedWorkers, make_job: MakeJob, settings: Any
) -> None:
    lease(settings)
    folder = shared_workers.folder
    job = make_job({**LONG, "steps": 60, "helpers": 1})
    wait_for_step(folder, job, 12)
    [trainer], [helper] = numbers(folder, job, "start"), numbers(folder, job, "helper")
    worker.signal(signal.SIGKILL)
    worker.process.wait()
    wait_until(lambda: is_dead(trainer), "the trainer is gone")
    assert not is_dead(helper)
    shared_workers.live()
    job.refresh_from_db()
    assert job.status == JobStatus.RUNNING  # until its lease has expired
    wait_until(lambda: is_dead(helper), "the new worker has killed the helper")
    sweep_until(lambda: outcomes(job) == ["lost"], "the sweep finds the lost attempt")
    FineTuningJob.objects.filter(id=job.id).update(not_before=None)
    sweep_until(lambda: len(outcomes(job)) == 2, "another attempt starts")
    wait_for_status(job, "succeeded")
    assert numbers(folder, job, "step", 2)[0] in (11, 16)  # continued after its last checkpoint
    assert_one_attempt_at_a_time(folder, job)
    assert "The training worker stopped responding. The job is tried again." in messages(job)


@pytest.mark.case("training.23")
@pytest.mark.criterion("2.3")
def test_a_worker_that_slept_beyond_its_lease_writes_nothing_more(
    worker: TrainingWorker, make_job: MakeJob, folder: Path, settings: Any
) -> None:
    lease(settings)
    job = make_job(LONG)
    wait_for_step(folder, job, 3)
    [trainer] = numbers(folder, job, "start")
    worker.signal(signal.SIGSTOP)
    wait_until(lambda: is_dead(trainer), "the trainer ends itself without a renewal")
    sweep_until(lambda: outcomes(job) == ["lost"], "the sweep finds the lost attempt")
    job_pause(job_id=job.id, actor="tests")
    job.refresh_from_db()
    state = (job.step, job.next_event, job.status)
    worker.signal(signal.SIGCONT)
    wait_until(lambda: "attempt 1 is abandoned" in worker.output, "the worker abandons the attempt")
    time.sleep(0.5)
    job.refresh_from_db()
    assert (job.step, job.next_event, job.status) == state
    job_resume(job_id=job.id, actor="tests")  # and the worker is fit for work
    wait_until(lambda: len(numbers(folder, job, "step", 2)) > 2, "another attempt makes progress")
    assert_one_attempt_at_a_time(folder, job)


@pytest.mark.case("training.26")
def test_cancelling_frees_the_whole_process_group(
    worker: TrainingWorker, make_job: MakeJob, folder: Path
) -> None:
    job = make_job({**LONG, "helpers": 2, "ignores_stop": True})
    wait_for_step(folder, job, 2)
    processes = numbers(folder, job, "start") + numbers(folder, job, "helper")
    assert len(processes) == 3
    assert not any(map(is_dead, processes))
    job_cancel(job_id=job.id, actor="tests")
    wait_for_status(job, "cancelled")
    assert all(map(is_dead, processes))
    assert outcomes(job) == [AttemptOutcome.CANCELLED]


@pytest.mark.criterion("2.7")
def test_a_paused_job_saves_and_continues_where_it_was(
    worker: TrainingWorker, make_job: MakeJob, folder: Path
) -> None:
    job = make_job({"steps": 40, "step_s": 0.05, "checkpoint_steps": 1000})
    wait_for_step(folder, job, 7)
    job_pause(job_id=job.id, actor="tests")
    wait_for_status(job, "paused")
    last_step = numbers(folder, job, "step")[-1]
    assert outcomes(job) == [AttemptOutcome.PAUSED]
    job_resume(job_id=job.id, actor="tests")
    wait_for_status(job, "succeeded")
    assert numbers(folder, job, "step", 2) == list(range(last_step + 1, 41))


@pytest.mark.criterion("2.7")
def test_a_draining_worker_releases_its_job_to_another(
    worker: TrainingWorker, shared_workers: SharedWorkers, make_job: MakeJob
) -> None:
    folder = shared_workers.folder
    job = make_job({"steps": 60, "step_s": 0.05, "checkpoint_steps": 1000})
    wait_for_step(folder, job, 7)
    worker.signal(signal.SIGTERM)
    assert worker.process.wait(PATIENCE_S) == 0
    job.refresh_from_db()
    assert (job.status, outcomes(job)) == (JobStatus.QUEUED, [AttemptOutcome.RELEASED])
    last_step = numbers(folder, job, "step")[-1]
    shared_workers.live()
    jobs_sweep()  # the leaving worker may have taken the doorbell along
    wait_for_status(job, "succeeded")
    assert numbers(folder, job, "step", 2) == list(range(last_step + 1, 61))


@pytest.mark.criterion("2.7")
def test_a_job_gives_way_to_an_urgent_one_and_continues_afterwards(
    worker: TrainingWorker, make_job: MakeJob, folder: Path
) -> None:
    job = make_job({"steps": 40, "step_s": 0.05, "checkpoint_steps": 1000}, priority=2)
    wait_for_step(folder, job, 7)
    urgent = make_job({"steps": 2}, priority=8)
    # The sweep passes over a row that the worker is writing.
    wait_until(lambda: preemption_request("default", wait_s=0) == job.id, "the job is to give way")
    wait_for_status(urgent, "succeeded")
    job.refresh_from_db()
    assert job.finished_at is None
    wait_for_status(job, "succeeded")
    assert outcomes(job) == [AttemptOutcome.RELEASED, AttemptOutcome.SUCCEEDED]
    assert numbers(folder, job, "step") == list(range(1, 41))


@pytest.mark.case("training.24")
def test_a_trainer_that_is_killed_for_memory_is_tried_again_a_few_times_only(
    worker: TrainingWorker, make_job: MakeJob, folder: Path
) -> None:
    job = make_job({"steps": 5, "exit_at": {"2": -9}})

    def has_failed() -> bool:
        FineTuningJob.objects.filter(id=job.id).update(not_before=None)
        job.refresh_from_db()
        return job.status == JobStatus.FAILED

    sweep_until(has_failed, "the job fails")
    assert outcomes(job) == [AttemptOutcome.FAILED] * 3
    assert job.error_code == "out_of_memory"
    assert (
        "most likely because memory ran out. This was attempt 3, the last one. Resume the job"
        in job.error_message
    )
    assert "last words" in worker.output
    assert not JobEvent.objects.filter(job=job, message__contains="last words").exists()
    assert list(JobAttempt.objects.filter(job=job).values_list("log", flat=True)) == ["last words"] * 3


@pytest.mark.criterion("2.3")
@pytest.mark.parametrize("exit_s", [0.0, 2 * EXIT_GRACE_S])
def test_a_run_that_stops_because_one_of_its_processes_died_has_failed(
    exit_s: float, worker: TrainingWorker, make_job: MakeJob
) -> None:
    """The launcher stops the others, and may take its time. Such a job was repeated without end."""
    job = make_job({"steps": 5, "stops_at": {"2": 1}, "exit_s": exit_s})
    wait_until(lambda: "failed" in outcomes(job) or len(outcomes(job)) > 1, "the attempt ends")
    assert outcomes(job) == [AttemptOutcome.FAILED]
    beginning = "The trainer ended unexpectedly" if exit_s == 0 else "The trainer stopped without being asked"
    assert any(message.startswith(beginning) for message in messages(job))


@pytest.mark.criterion("2.3")
def test_one_killed_process_of_several_is_lack_of_memory_whatever_the_others_report(
    worker: TrainingWorker, make_job: MakeJob
) -> None:
    lost_connection = {"code": "internal_error", "message": "m", "next_step": "n", "is_transient": True}
    words = "E1130 18:26:33 api.py:1002] failed (exitcode: -9) local_rank: 1 (pid: 11393) of binary: python"
    words += "\n".join(
        ["", *(f"  line {number} of the report about the other processes" for number in range(80))]
    )
    job = make_job({"steps": 5, "failed_at": {"2": [lost_connection]}, "last_words": words})
    wait_until(lambda: "failed" in outcomes(job), "the attempt ends")
    assert JobAttempt.objects.get(job=job, number=1).error_code == "out_of_memory"


def test_a_failure_that_the_trainer_reports_as_permanent_is_final(
    worker: TrainingWorker, make_job: MakeJob
) -> None:
    failure = {"code": "non_finite_loss", "message": "The loss is NaN.", "next_step": "Lower the rate."}
    # Of several processes, the others fail without the one that has failed.
    consequence = {
        "code": "internal_error",
        "message": "A peer has left.",
        "next_step": "",
        "is_transient": True,
    }
    job = make_job({"steps": 5, "failed_at": {"2": [{**failure, "is_transient": False}, consequence]}})
    wait_for_status(job, "failed")
    assert (job.error_code, job.error_message) == ("non_finite_loss", "The loss is NaN. Lower the rate.")
    last = JobEvent.objects.filter(job=job).latest("number")
    assert (last.level, last.data) == ("error", {"code": "non_finite_loss", "next_step": "Lower the rate."})


def test_training_goes_on_through_an_outage_of_the_database(
    worker: TrainingWorker, make_job: MakeJob, folder: Path
) -> None:
    job = make_job({"steps": 60, "step_s": 0.05})
    wait_for_step(folder, job, 3)
    outage_ends_at = time.monotonic() + 1.5
    with connection.cursor() as cursor:
        while time.monotonic() < outage_ends_at:
            cursor.execute(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            time.sleep(0.01)
    wait_for_status(job, "succeeded")
    assert "the database is unavailable" in worker.output
    assert outcomes(job) == [AttemptOutcome.SUCCEEDED]
    steps = (
        JobEvent.objects.filter(job=job, type="metrics")
        .order_by("number")
        .values_list("data__step", flat=True)
    )
    assert list(steps) == list(range(1, 61))


def lease(settings: Any) -> None:
    """Give the sweep of this process the lease of the workers."""
    settings.CYLLM = settings.CYLLM.model_copy(update={"training_lease_s": LEASE_S})
