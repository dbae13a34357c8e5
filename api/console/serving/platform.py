"""State of the platform for operators: stores, workers, training, latency and errors of the last hour."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import redis
from django.conf import settings
from django.db import DatabaseError, connection
from django.db.models import Count
from django.utils import timezone
from django.utils.translation import gettext

from api.console.serving.speed import ModelSpeed, model_speeds
from inference_worker.protocol import names
from inference_worker.registry.worker_sightings import WorkerSighting, WorkerStatus, platform_workers
from tenants.choices import RecordOutcome
from tenants.files.disk import Disk
from tenants.models import UsageRecord
from training.choices import AttemptOutcome, JobStatus
from training.models import FineTuningJob, JobAttempt

HOUR = dt.timedelta(hours=1)
MAX_ERRORS = 10
TONES: Mapping[WorkerStatus, str] = {
    WorkerStatus.READY: "good",
    WorkerStatus.LOADING: "info",
    WorkerStatus.STARTING: "info",
    WorkerStatus.DRAINING: "warn",
}


@dataclass(frozen=True, slots=True)
class StoreHealth:
    """A store. ``is_up``: it answers, within ``ping_s``; a disk has room for files.

    ``backlog``: facts that wait for the ledger.
    """

    name: str
    is_up: bool
    ping_s: float | None = None
    backlog: int | None = None
    free_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Platform:
    """Everything on the status page. ``workers`` is None while Redis is unavailable."""

    stores: Sequence[StoreHealth]
    workers: Sequence[tuple[WorkerSighting, str]] | None
    attempts: Sequence[JobAttempt]
    queue: Sequence[Mapping[str, Any]]
    speeds: Sequence[tuple[str, ModelSpeed]]
    errors: Sequence[Mapping[str, Any]]
    read_at: dt.datetime


def platform_state() -> Platform:
    """Return the state now. Five queries."""
    workers = platform_workers()
    running = (
        JobAttempt.objects.across_tenants()
        .filter(outcome=AttemptOutcome.RUNNING)
        .select_related("job__tenant")
    )
    waiting = FineTuningJob.objects.across_tenants().filter(
        status__in=[JobStatus.QUEUED, JobStatus.VALIDATING_FILES]
    )
    return Platform(
        stores=[_postgres(), _redis(), _disk()],
        workers=None
        if workers is None
        else [(worker, TONES.get(worker.status, "bad")) for worker in workers],
        attempts=list(running.order_by("claimed_at")),
        queue=list(
            waiting.order_by()
            .values("worker_class", "status")
            .annotate(jobs=Count("pk"))
            .order_by("worker_class")
        ),
        speeds=sorted(model_speeds(window=HOUR).items()),
        errors=_errors(),
        read_at=timezone.now(),
    )


def _errors() -> list[Mapping[str, Any]]:
    records = (
        UsageRecord.objects.across_tenants()
        .filter(started_at__gte=timezone.now() - HOUR)
        .exclude(error_code="")
        .exclude(outcome=RecordOutcome.CANCELLED)  # ended by the client, not by a fault
    )
    rows = records.order_by().values("error_code", "model").annotate(requests=Count("pk"))
    return list(rows.order_by("-requests", "error_code")[:MAX_ERRORS])


def _postgres() -> StoreHealth:
    started_at = time.perf_counter()
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError:
        return StoreHealth("Postgres", is_up=False)
    return StoreHealth("Postgres", is_up=True, ping_s=time.perf_counter() - started_at)


def _redis() -> StoreHealth:
    try:
        with redis.Redis.from_url(
            settings.CYLLM.redis_url, socket_timeout=2, socket_connect_timeout=2
        ) as client:
            client.ping()
            started_at = time.perf_counter()
            client.ping()
            return StoreHealth("Redis", True, time.perf_counter() - started_at, _backlog(client))
    except redis.RedisError:
        return StoreHealth("Redis", is_up=False)


def _disk() -> StoreHealth:
    disk, name = Disk(settings.FILE_INCOMING_DIR, settings.CYLLM.min_free_disk_bytes), gettext("Disk")
    try:
        free_bytes = disk.free_bytes()
    except OSError:
        return StoreHealth(name, is_up=False)
    return StoreHealth(name, free_bytes >= disk.min_free_bytes, free_bytes=free_bytes)


def _backlog(client: redis.Redis) -> int:
    """Return the facts in the stream, which the drain deletes once they are in the ledger."""
    return int(client.xlen(names.FACTS_STREAM))
