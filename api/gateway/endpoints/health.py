"""``/health/live`` and ``/health/ready``: what works, component by component, looked up twice a second."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from api.gateway.stages.settle import RequestRecorder
from api.gateway.state.database import Database, answers
from api.openai.errors.base import ApiError
from inference_worker.client.interface import EngineClient
from inference_worker.client.worker_directory import is_usable
from inference_worker.protocol.messages import WorkerState

CHECK_TIMEOUT_S = 1.0
SHARED_S = 0.5
LIVE = b'{"status": "live"}'


@dataclass(frozen=True, slots=True)
class Report:
    """The state of the components; ready only if all are."""

    ready: bool
    body: bytes


class Health:
    """One check at a time serves all probes; a probe costs no token and is nobody's usage."""

    def __init__(self, database: Database, recorder: RequestRecorder, client: EngineClient) -> None:
        self._database, self._recorder, self._client = database, recorder, client
        self._lock = asyncio.Lock()
        self._report: Report | None = None
        self._checked_at = 0.0

    async def ready(self) -> Report:
        """The report, half a second old at most."""
        async with self._lock:
            if self._report is None or time.monotonic() - self._checked_at > SHARED_S:
                self._report = await self._check()
                self._checked_at = time.monotonic()
            return self._report

    async def _check(self) -> Report:
        database, redis = await asyncio.gather(
            _within(self._database_answers), _within(self._recorder.answers)
        )
        relay = self._client.healthy()
        states = [worker.state for worker in self._client.workers()]
        workers = relay and any(map(is_usable, self._client.workers()))
        components = {
            "database": _status(database),
            "redis": _status(redis),
            "relay": _status(relay),
            "workers": {
                **_status(workers),
                **{state.value: states.count(state) for state in WorkerState},
            },
        }
        ready = database and redis and relay and workers
        status = "ready" if ready else "not ready"
        return Report(ready, json.dumps({"status": status, "components": components}).encode())

    async def _database_answers(self) -> bool:
        try:
            await self._database.read(answers, timeout_s=CHECK_TIMEOUT_S)
        except ApiError:
            return False
        return True


async def _within(check: Callable[[], Awaitable[bool]]) -> bool:
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_S):
            return await check()
    except TimeoutError:
        return False


def _status(works: bool) -> dict[str, object]:
    return {"status": "up" if works else "down"}
