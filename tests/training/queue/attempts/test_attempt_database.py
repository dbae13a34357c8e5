"""Database access of an attempt: few operations, and each can be repeated."""

from __future__ import annotations

import io
import json
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest
from django.db import OperationalError, connection

from tenants.files.creation import NewFile, file_store
from tenants.files.models import Purpose
from tests.people import Cast
from tests.training.queue.attempts.test_unpublished import finished_run
from tests.training.queue.claims.test_claim_order import claim, queued
from tests.training.queue.harness.jobs import MakeJob
from training.choices import JobPhase
from training.engine.control import now
from training.engine.events import Choice, Progress
from training.jobs.services import job_resume
from training.models import FineTuningJob, JobEvent
from training.queue.claim import Claim
from training.queue.endings import attempt_fail
from training.requests.hyperparameters import resolve
from training.supervisor.attempt import AttemptRun
from training.supervisor.folders import job_folder
from training.supervisor.persistence import run_once
from training.supervisor.results.publication import publish
from training.supervisor.results.recording import events_record
from training.supervisor.trainer.diagnosis import failure_of_exit
from training.supervisor.trainer.preparation import prepare

T = TypeVar("T")


class Persistence:
    """Runs and counts operations. Under its guard, the database answers nothing else."""

    def __init__(self) -> None:
        self.count = 0
        self._is_inside = False

    def __call__(self, operation: Callable[[], T], /) -> T:
        self.count += 1
        self._is_inside = True
        try:
            return operation()
        finally:
            self._is_inside = False

    @contextmanager
    def guard(self) -> Iterator[None]:
        """Refuse statements outside of the operations."""

        def execute(execute: Any, *arguments: Any) -> Any:
            if not self._is_inside:
                raise OperationalError("the connection is lost")
            return execute(*arguments)

        with connection.execute_wrapper(execute):
            yield


@pytest.fixture(autouse=True)
def _settings(cast: Cast, redis_url: str, settings: Any, tmp_path: Path) -> None:
    """Folders and a base model of this test."""
    changes = {"training_dir": tmp_path / "training", "training_models": {"base": tmp_path}}
    settings.CYLLM = settings.CYLLM.model_copy(update=changes)


def claimed() -> Claim:
    """Claim the job of the test."""
    result = claim()
    assert result is not None
    return result


def progress(step: int) -> Progress:
    """Return the event of a step."""
    return Progress(
        step=step,
        total_steps=9,
        epoch=0.1,
        loss=1.0,
        token_accuracy=0.5,
        learning_rate=1e-4,
        grad_norm=1.0,
        tokens_per_s=50.0 * step,
        trained_tokens=step,
        eta_s=1.0,
        samples_per_s=1.0,
        elapsed_s=1.0,
        memory_bytes=1,
    )


@pytest.mark.django_db
def test_an_outage_while_an_attempt_prepares_or_publishes_costs_nothing(
    make_job: MakeJob, tmp_path: Path
) -> None:
    new_job = make_job(options={"publish": False})
    token = claimed().token
    job = FineTuningJob.objects.select_related("tenant").get(id=new_job.id)
    persist = Persistence()
    with persist.guard():
        prepare(token, job, 1, job_folder(job.id), check=lambda: None, persist=persist)
        prepared_count = persist.count
        success = publish(
            job, token, finished_run(tmp_path / "result"), report_phase=lambda _: None, persist=persist
        )
    assert (prepared_count, persist.count, len(success.contents)) == (3, 5, 2)


@pytest.mark.django_db
@pytest.mark.criterion("2.5")
def test_a_trainer_knows_how_often_memory_ran_out_since_the_job_was_resumed(make_job: MakeJob) -> None:
    new_job = make_job({"steps": 5})
    codes = []
    for failure in (failure_of_exit(-signal.SIGKILL), failure_of_exit(1), failure_of_exit(-signal.SIGKILL)):
        FineTuningJob.objects.update(not_before=None)
        token = claimed().token
        job = FineTuningJob.objects.select_related("tenant").get(id=new_job.id)
        spec = prepare(token, job, 1, job_folder(job.id), check=lambda: None, persist=run_once)
        codes.append(spec.memory_failures)
        attempt_fail(token, failure)
    assert codes == [0, 1, 1]
    job_resume(job_id=new_job.id, actor="tests")
    job = FineTuningJob.objects.select_related("tenant").get(id=new_job.id)
    spec = prepare(claimed().token, job, 4, job_folder(job.id), check=lambda: None, persist=run_once)
    assert spec.memory_failures == 0  # perhaps on a worker with more memory


@pytest.mark.django_db
def test_examples_of_a_json_array_are_counted_for_automatic_hyperparameters(cast: Cast) -> None:
    example = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
    content = io.BytesIO(json.dumps([example] * 100).encode())
    new = NewFile(filename="array.json", purpose=Purpose.USER_DATA)
    file = file_store(tenant_id=cast.acme.id, content=content, new=new, actor="tests")
    new_job = queued(cast.acme, training_file=file.id, report={})
    token = claimed().token
    job = FineTuningJob.objects.select_related("tenant").get(id=new_job.id)
    spec = prepare(token, job, 1, job_folder(job.id), check=lambda: None, persist=run_once)
    expected = resolve(method="supervised", hyperparameters={}, options={}, examples=100, threads=None)
    assert (spec.epochs, spec.batch_size) == (expected.n_epochs, expected.batch_size)
    assert spec.batch_size > 1


@pytest.mark.django_db
def test_a_phase_that_lasts_is_written_once(cast: Cast, django_assert_num_queries: Any) -> None:
    queued(cast.acme)
    run = AttemptRun(claimed(), claimed_at=now())
    run.report_phase(JobPhase.WAITING_FOR_WORKER)
    with django_assert_num_queries(0):
        for _ in range(3):
            run.report_phase(JobPhase.WAITING_FOR_WORKER)
    run.report_phase(JobPhase.VERIFYING)
    assert FineTuningJob.objects.get().phase == JobPhase.VERIFYING


@pytest.mark.django_db(transaction=True)
def test_events_that_arrive_together_share_a_transaction_and_a_notification(
    cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = queued(cast.acme)
    token = claimed().token
    count = JobEvent.objects.filter(job=job).count()
    published_ids: list[str] = []
    monkeypatch.setattr(
        "training.jobs.events.changes.publish", lambda _, change: published_ids.append(change)
    )
    choice = Choice(subject="Device", value="cpu", reason="there is no other")
    events_record(token, choice, *map(progress, range(1, 6)))
    assert len(published_ids) == 1
    numbers = JobEvent.objects.filter(job=job).order_by("number").values_list("number", flat=True)
    assert list(numbers)[count:] == list(range(count + 1, count + 7))
    job.refresh_from_db()
    assert (job.step, job.tokens_per_s) == (5, 250.0)
