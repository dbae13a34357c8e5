"""The queue with real brokers that lose, repeat and delay messages."""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.people import Cast
from tests.stacks import Service, wait_until
from tests.training.queue.harness.brokers import RABBITMQ, rabbitmq_broker, stop_name_server, valkey_broker
from tests.training.queue.harness.celery_workers import TrainingWorker, training_worker
from tests.training.queue.harness.jobs import MakeJob, queued_job, wait_for_status
from training.engine import events
from training.jobs import doorbells
from training.jobs.services import job_cancel
from training.models import FineTuningJob, JobAttempt
from training.queue.sweep import jobs_sweep

EVALUATION = events.Evaluation(step=0, loss=2.0, perplexity=7.4, token_accuracy=0.5, is_best=False)
FINISHED = events.Finished(
    step=1,
    reason="completed",
    result_dir="result",
    trained_tokens=1,
    evaluated_on="training",
    base=EVALUATION,
    result=EVALUATION,
    probe_prompts=(),
)
needs_rabbitmq = pytest.mark.skipif(RABBITMQ is None, reason="rabbitmq-server is not installed")
COMMIT = dt.timedelta(seconds=0.3)
BROKERS = {"redis": valkey_broker, "rabbitmq": rabbitmq_broker}


@pytest.fixture(params=["redis", pytest.param("rabbitmq", marks=needs_rabbitmq)])
def broker(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Service]:
    """A broker, configured for this process."""
    from cyllm_site.celery import app

    service, url = BROKERS[request.param](tmp_path)
    monkeypatch.setitem(app.conf, "broker_url", url)
    service.start()
    yield service
    if service.running():
        service.stop()
    stop_name_server(service)


@pytest.fixture
def workers(
    broker: Service, tmp_path: Path, transactional_db: None
) -> Iterator[Callable[[], list[TrainingWorker]]]:
    """Starts two workers whose trainer is done at once."""
    from cyllm_site.celery import app

    line = tmp_path / "finished.jsonl"
    line.write_bytes(events.encode(FINISHED))
    settings = {"CYLLM_BROKER_URL": str(app.conf.broker_url), "CYLLM_TRAINING_COMMAND": f"cat {line}"}
    with ExitStack() as stack:

        def start() -> list[TrainingWorker]:
            names = ("one", "two")
            started_workers = [
                stack.enter_context(training_worker(tmp_path, name, settings)) for name in names
            ]
            for worker in started_workers:
                wait_until(worker.is_ready, "the worker is ready")
            return started_workers

        yield start


def purge() -> None:
    """Lose all messages."""
    from cyllm_site.celery import app

    with app.connection_for_write() as connection:
        channel: Any = connection.default_channel
        channel.queue_purge("training.default")


def ended(jobs: list[FineTuningJob]) -> bool:
    """Return whether all jobs have ended."""
    ids = [job.id for job in jobs]
    return not FineTuningJob.objects.filter(id__in=ids, finished_at=None).exists()


def swept_and_ended(jobs: list[FineTuningJob]) -> bool:
    """Sweep, as beat does, and return whether all jobs have ended."""
    jobs_sweep()
    return ended(jobs)


def assert_order(jobs: list[FineTuningJob]) -> None:
    """Check that each job was claimed once, and never while one that comes first was waiting."""
    claims = {
        attempt.job_id: attempt.claimed_at for attempt in JobAttempt.objects.filter(outcome="succeeded")
    }
    assert len(claims) == JobAttempt.objects.count() == len(jobs)
    for job in jobs:
        for other in jobs:
            assert other.queued_at is not None
            # A job waits from the commit that follows queued_at.
            has_waited = other.queued_at + COMMIT < claims[job.id] < claims[other.id]
            assert not (has_waited and _rank(other) < _rank(job)), (job, other)


def _rank(job: FineTuningJob) -> tuple[Any, ...]:
    """Return the place of a job among those of its tenant."""
    return -job.priority, job.queued_at, job.id


@pytest.mark.criterion("2.7")
@pytest.mark.case("training.27", "training.28")
def test_jobs_are_claimed_in_order_once_each_whatever_happens_to_messages(
    broker: Service, workers: Callable[[], list[TrainingWorker]], make_job: MakeJob, cast: Cast
) -> None:
    chance = random.Random(7)
    file = make_job().training_file
    FineTuningJob.objects.all().delete()

    def wave(count: int) -> list[FineTuningJob]:
        return [
            queued_job(cast.acme, training_file=file, priority=chance.randrange(10), report={"examples": 1})
            for _ in range(count)
        ]

    lost_jobs = wave(22)
    purge()
    running = workers()
    assert not JobAttempt.objects.exists()  # all doorbells were lost
    wait_until(lambda: swept_and_ended(lost_jobs), "the jobs have ended without their doorbells")

    broker.stop()
    silent = wave(14)  # nobody hears of them
    broker.start()
    wait_until(lambda: swept_and_ended(silent), "the jobs created during the outage have ended")

    repeated_jobs = wave(14)
    for _ in range(10):
        doorbells.ring("default", chance.randrange(10))
    wait_until(lambda: ended(repeated_jobs), "the jobs have ended without a sweep")

    jobs = list(FineTuningJob.objects.all())
    assert len(jobs) == 50
    assert_order(jobs)
    worker_ids = set(JobAttempt.objects.values_list("worker_id", flat=True))
    assert {int(name.rpartition("-")[2]) for name in worker_ids} == {worker.process.pid for worker in running}


def test_a_busy_worker_leaves_the_doorbells_to_others(
    tmp_path: Path, redis_client: Any, transactional_db: None, make_job: MakeJob
) -> None:
    with training_worker(tmp_path, "one") as one:
        wait_until(one.is_ready, "the worker is ready")
        long = make_job({"steps": 2000, "step_s": 0.05, "checkpoint_steps": 1000})
        wait_for_status(long, "running")
        with training_worker(tmp_path, "two") as two:
            wait_until(two.is_ready, "the other worker is ready")
            for _ in range(4):
                job = make_job({"steps": 1})
                wait_for_status(job, "succeeded")  # without a sweep
        job_cancel(job_id=long.id, actor="tests")
        wait_for_status(long, "cancelled")
        last = make_job({"steps": 1})
        wait_for_status(last, "succeeded")  # it consumes again
    assert "Unrecoverable" not in one.output


def test_the_platforms_celery_worker_leaves_the_training_queues_alone(redis_url: str) -> None:
    from cyllm_site.celery import app

    assert list(app.amqp.queues.consume_from or app.amqp.queues) == ["celery"]
