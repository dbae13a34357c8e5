"""The health endpoints: the state of each component, checked at most twice a second.

The gateway is ready if database, Redis, relay and a worker are up. The other components only warn an
operator: of models without a worker, facts that nothing stores in the ledger, and a disk that is almost full.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Literal, TypeAlias, TypeVar

from django.db import DatabaseError

from api.gateway.http.disconnect import Receive
from api.gateway.http.exchange import Exchange
from api.gateway.http.response_sender import ResponseSender
from api.gateway.stages.models.catalogue import ReadCatalogue
from api.gateway.stages.models.workers import is_served_by
from api.gateway.state.database import Database, ping
from api.gateway.state.presence import GatewayPresence
from api.openai.errors.base import ApiError
from api.openai.errors.retry_after import DEFAULT_RETRY_S, retry_after
from inference_worker.client.interface import EngineClient
from inference_worker.client.routing import is_usable
from inference_worker.protocol.messages import Heartbeat, WorkerState
from inference_worker.transport.redis_connection import RedisUnavailableError
from tenants.files.disk import Disk

CHECK_TIMEOUT_S = 1.0
CACHE_S = 0.5
LIVE = b'{"status": "live"}'
# The drain stores facts within a second; after a minute, no Celery worker runs it, or Postgres is down.
MAX_FACT_AGE_S = 60.0

Status: TypeAlias = Literal["up", "degraded", "down", "unknown"]
T = TypeVar("T")
UNKNOWN: Status = "unknown"


@dataclass(frozen=True, slots=True)
class HealthReport:
    """The state of the components, and whether requests can be served."""

    is_ready: bool
    body: bytes


@dataclass(frozen=True, slots=True)
class HealthSources:
    """The components that are checked, and what they are checked with."""

    database: Database
    presence: GatewayPresence
    client: EngineClient
    read_catalogue: ReadCatalogue
    disk: Disk


class HealthEndpoints:
    """Health probes. Concurrent probes share one check, which costs no tokens."""

    def __init__(self, sources: HealthSources) -> None:
        self._sources = sources
        self._disk_check = _DiskCheck(sources.disk)
        self._lock = asyncio.Lock()
        self._report: HealthReport | None = None
        self._checked_at = 0.0

    async def live(self, _: Exchange, __: Receive, sender: ResponseSender) -> None:
        """``GET /health/live``: the process responds."""
        await sender.json(LIVE)

    async def ready(self, _: Exchange, __: Receive, sender: ResponseSender) -> None:
        """``GET /health/ready`` and ``GET /health``: 200 if requests can be served, otherwise 503."""
        report = await self.report()
        headers = {} if report.is_ready else retry_after(DEFAULT_RETRY_S)
        await sender.json(report.body, 200 if report.is_ready else 503, headers)

    async def report(self) -> HealthReport:
        """Return a report that is at most half a second old."""
        async with self._lock:
            if self._report is None or time.monotonic() - self._checked_at > CACHE_S:
                self._report = await self._check()
                self._checked_at = time.monotonic()
            return self._report

    async def _check(self) -> HealthReport:
        workers, relay = self._sources.client.workers(), self._sources.client.is_healthy()
        database, fact_age_s, models, has_room = await asyncio.gather(
            _within_limit(self._ping_database, False),
            _within_limit(self._sources.presence.oldest_fact_age_s, None),
            _within_limit(lambda: self._models_status(workers), UNKNOWN),
            _within_limit(self._disk_check.has_room, None),
        )
        states = [worker.state for worker in workers]
        serves = relay and any(map(is_usable, workers))
        components = {
            "database": _component(_status(database)),
            "redis": _component(_status(fact_age_s is not None)),
            "relay": _component(_status(relay)),
            "workers": _component(_status(serves))
            | {state.value: states.count(state) for state in WorkerState},
            "models": _component(models if relay else UNKNOWN),
            "queue": _component(UNKNOWN if fact_age_s is None else _status(fact_age_s < MAX_FACT_AGE_S)),
            "disk": _component(UNKNOWN if has_room is None else _status(has_room)),
        }
        is_ready = database and fact_age_s is not None and relay and serves
        status = "ready" if is_ready else "not ready"
        return HealthReport(is_ready, json.dumps({"status": status, "components": components}).encode())

    async def _ping_database(self) -> bool:
        await self._sources.database.call(ping, timeout_s=CHECK_TIMEOUT_S)
        return True

    async def _models_status(self, workers: Sequence[Heartbeat]) -> Status:
        """Return whether all, some or none of the enabled models are served by a worker."""
        entries = (await self._sources.read_catalogue()).entries
        usable = [worker for worker in workers if is_usable(worker)]
        served_count = sum(any(is_served_by(entry, worker) for worker in usable) for entry in entries)
        if served_count == len(entries):
            return "up"
        return "degraded" if served_count else "down"


class _DiskCheck:
    """Checks a disk in a daemon thread, at most once at a time: a mount that hangs may never answer."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._answer: Future[bool] | None = None

    async def has_room(self) -> bool:
        """Return whether the disk has room. Raises OSError."""
        if self._answer is None or self._answer.done():
            self._answer = Future()
            threading.Thread(target=self._check, args=(self._answer,), name="disk-check", daemon=True).start()
        return await asyncio.shield(asyncio.wrap_future(self._answer))

    def _check(self, answer: Future[bool]) -> None:
        try:
            answer.set_result(self._disk.has_room())
        except OSError as error:
            answer.set_exception(error)


async def _within_limit(check: Callable[[], Awaitable[T]], fallback: T) -> T:
    """Return the result of a check, or ``fallback`` if it fails or takes too long."""
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_S):
            return await check()
    except (ApiError, DatabaseError, RedisUnavailableError, OSError, TimeoutError):
        return fallback


def _status(is_up: bool) -> Status:
    return "up" if is_up else "down"


def _component(status: Status) -> dict[str, object]:
    return {"status": status}
