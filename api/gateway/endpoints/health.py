"""The health endpoints: the state of each component, checked at most twice a second."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from api.gateway.http.disconnect import Receive
from api.gateway.http.exchange import Exchange
from api.gateway.http.response_sender import ResponseSender
from api.gateway.state.database import Database, ping
from api.gateway.state.presence import GatewayPresence
from api.openai.errors.base import ApiError
from api.openai.errors.retry_after import DEFAULT_RETRY_S, retry_after
from inference_worker.client.interface import EngineClient
from inference_worker.client.routing import is_usable
from inference_worker.protocol.messages import WorkerState

CHECK_TIMEOUT_S = 1.0
CACHE_S = 0.5
LIVE = b'{"status": "live"}'


@dataclass(frozen=True, slots=True)
class HealthReport:
    """The state of the components; ready only if all are up."""

    is_ready: bool
    body: bytes


class HealthEndpoints:
    """Health probes. Concurrent probes share one check, which costs no tokens."""

    def __init__(self, database: Database, presence: GatewayPresence, client: EngineClient) -> None:
        self._database, self._presence, self._client = database, presence, client
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
        database, redis = await asyncio.gather(
            _within_limit(self._ping_database), _within_limit(self._presence.is_healthy)
        )
        relay = self._client.is_healthy()
        workers = self._client.workers()
        states = [worker.state for worker in workers]
        serves = relay and any(map(is_usable, workers))
        components = {
            "database": _status(database),
            "redis": _status(redis),
            "relay": _status(relay),
            "workers": {
                **_status(serves),
                **{state.value: states.count(state) for state in WorkerState},
            },
        }
        is_ready = database and redis and relay and serves
        status = "ready" if is_ready else "not ready"
        return HealthReport(is_ready, json.dumps({"status": status, "components": components}).encode())

    async def _ping_database(self) -> bool:
        try:
            await self._database.call(ping, timeout_s=CHECK_TIMEOUT_S)
        except ApiError:
            return False
        return True


async def _within_limit(check: Callable[[], Awaitable[bool]]) -> bool:
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_S):
            return await check()
    except TimeoutError:
        return False


def _status(is_up: bool) -> dict[str, object]:
    return {"status": "up" if is_up else "down"}
