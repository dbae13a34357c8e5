"""A remote engine that does not answer yet: where it was looked for, and what came instead."""

from __future__ import annotations

import asyncio
import socket
from contextlib import closing

import httpx
import pytest

from inference_worker.runtime.calls.engine import EngineStartError
from inference_worker.runtime.engines import remote_engine
from inference_worker.runtime.engines.remote_engine import RemoteEngine
from inference_worker.runtime.settings import WorkerSettings


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_engine, "CHECK_INTERVAL_S", 0.01)


def _wait(address: str, transport: httpx.AsyncBaseTransport | None, timeout_s: float = 0.2) -> list[str]:
    said: list[str] = []

    async def wait() -> None:
        settings = WorkerSettings(CYLLM_REDIS_URL="redis://unused", model="m", engine="remote")
        async with httpx.AsyncClient(base_url=address, transport=transport) as client:
            await RemoteEngine(client, settings).wait_ready(timeout_s, said.append)

    try:
        asyncio.run(wait())
    except EngineStartError as error:
        said.append(str(error))
    return said


def test_each_new_reason_is_told_once_and_the_credentials_never(caplog: pytest.LogCaptureFixture) -> None:
    answers = iter([404, 404, 503, 503, 200])
    transport = httpx.MockTransport(lambda _request: httpx.Response(next(answers)))
    with caplog.at_level("WARNING", logger="cyllm.worker.remote"):
        said = _wait("http://me:hunter2@engine:8000/up?key=hunter3", transport, timeout_s=5)
    waiting = "waiting for the remote engine at http://engine:8000/up: answered"
    assert said == [f"{waiting} 404 to /v1/models", f"{waiting} 503 to /v1/models"]
    assert [record.getMessage() for record in caplog.records] == said


def test_an_engine_that_is_not_there_is_told_with_the_systems_reason() -> None:
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))  # bound, but nothing listens
        address = f"http://127.0.0.1:{taken.getsockname()[1]}"
        said = _wait(address, None)
    assert said == [
        f"waiting for the remote engine at {address}: connection refused",
        f"no engine answered at {address}: connection refused",
    ]


def test_a_failure_without_a_reason_of_the_system_is_told_by_its_kind() -> None:
    def break_off(_request: httpx.Request) -> httpx.Response:
        raise httpx.RemoteProtocolError("cut")

    assert "RemoteProtocolError" in _wait("http://engine", httpx.MockTransport(break_off))[0]
