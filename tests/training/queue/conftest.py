"""Fixtures for the tests of the queue."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:  # Django is not set up when pytest imports this
    from tests.people import Cast
    from tests.training.queue.harness.celery_workers import SharedWorkers, TrainingWorker
    from tests.training.queue.harness.jobs import MakeJob
    from training.models import FineTuningJob


@pytest.fixture
def make_job(cast: Cast, redis_url: str) -> MakeJob:
    """Creates jobs."""
    from tests.training.queue.harness.jobs import job_with_script

    def make(script: dict[str, Any] | None = None, **fields: Any) -> FineTuningJob:
        return job_with_script(fields.pop("tenant", cast.acme), script or {}, **fields)

    return make


@pytest.fixture(scope="module")
def shared_workers(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Iterator[SharedWorkers]:
    """Training workers, which take seconds to start."""
    from tests.training.queue.harness.celery_workers import SharedWorkers

    workers = SharedWorkers(tmp_path_factory.mktemp("workers"))
    yield workers
    workers.end()


@pytest.fixture
def folder(shared_workers: SharedWorkers) -> Path:
    """The folder of the training workers."""
    return shared_workers.folder


@pytest.fixture
def worker(
    shared_workers: SharedWorkers, redis_client: Any, transactional_db: None
) -> Iterator[TrainingWorker]:
    """A training worker, without any job at the end of the test."""
    from tests.training.queue.harness.jobs import jobs_end

    yield shared_workers.live()
    jobs_end()
