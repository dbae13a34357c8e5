"""Migrations of jobs that earlier versions left behind."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.utils import timezone

from tenants.services import tenant_create
from training.models import FineTuningJob, JobAttempt, JobEvent

BEFORE = [("training", "0006_source_checkpoint")]


@pytest.fixture
def old_apps(transactional_db: None) -> Iterator[Any]:
    """The models of the version before; the database has its tables until ``_migrate``."""
    executor = MigrationExecutor(connection)
    executor.migrate(BEFORE)
    yield executor.loader.project_state(BEFORE).apps
    _migrate()


def _migrate() -> None:
    executor = MigrationExecutor(connection)
    executor.migrate(executor.loader.graph.leaf_nodes())


def _job(apps: Any, number: int, tenant: Any, **fields: Any) -> Any:
    values = {
        "base_model": "tiny",
        "method": "supervised",
        "seed": 1,
        "training_file": "file-1",
        "next_event": 1,
    }
    created_at = timezone.now() + dt.timedelta(seconds=number)
    return apps.get_model("training", "FineTuningJob").objects.create(
        id=f"ftjob-{number}", tenant_id=tenant.id, created_at=created_at, created_by="t", **values | fields
    )


def test_of_open_jobs_that_publish_one_checkpoint_the_newest_stays_and_the_others_say_why_they_ended(
    old_apps: Any,
) -> None:
    tenant = tenant_create(slug="acme", name="Acme", actor="t")
    source = _job(old_apps, 0, tenant, status="succeeded")
    checkpoints = [
        old_apps.get_model("training", "JobCheckpoint").objects.create(
            id=f"c{n}", job=source, step=n, folder="f"
        )
        for n in (1, 2)
    ]
    for number, status, checkpoint in (
        *((1, "succeeded", 0), (2, "running", 0), (3, "queued", 0), (4, "queued", 0)),
        (5, "queued", 1),
    ):
        _job(old_apps, number, tenant, status=status, source_checkpoint=checkpoints[checkpoint])
    old_apps.get_model("training", "JobAttempt").objects.create(
        id=uuid.uuid4(),
        job_id="ftjob-2",
        number=1,
        worker_id="w",
        claimed_at=timezone.now(),
        lease_until=timezone.now(),
    )
    _migrate()
    statuses = dict(FineTuningJob.objects.across_tenants().values_list("id", "status"))
    assert statuses == {
        "ftjob-0": "succeeded",
        "ftjob-1": "succeeded",
        "ftjob-2": "cancelled",
        "ftjob-3": "cancelled",
        "ftjob-4": "queued",
        "ftjob-5": "queued",
    }
    events = JobEvent.objects.across_tenants().order_by("job_id").values_list("job_id", "number", "message")
    reason = "Fine-tuning job cancelled, because the newer job ftjob-4 publishes the same checkpoint"
    assert list(events) == [("ftjob-2", 1, reason), ("ftjob-3", 1, reason)]
    assert JobAttempt.objects.across_tenants().get().outcome == "cancelled"


@pytest.mark.django_db
def test_indexes_of_events_are_built_while_trainers_write() -> None:
    nodes = MigrationExecutor(connection).loader.graph.nodes
    blocking = [
        name
        for (app, name), migration in nodes.items()
        for operation in migration.operations
        if app == "training"
        and name != "0001_initial"
        and type(operation).__name__ == "AddIndex"
        and operation.model_name == "jobevent"
    ]
    assert blocking == []
