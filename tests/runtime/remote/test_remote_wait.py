"""Waiting for a remote engine: the address and the reason are reported, credentials never."""

from __future__ import annotations

import asyncio
import socket
from contextlib import closing

import httpx
import pytest

from inference_worker.runtime.calls.engine import EngineFailedError
from inference_worker.runtime.engines import remote_engine
from inference_worker.runtime.engines.remote_engine import RemoteEngine
from inference_worker.runtime.settings import WorkerSettings


@pytest.fixture(autouse=True)
def _short_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_engine, "CHECK_INTERVAL_S", 0.01)


def _wait(address: str, transport: httpx.AsyncBaseTransport | None, timeout_s: float = 0.2) -> list[str]:
    reports: list[str] = []

    async def wait() -> None:
        settings = WorkerSettings(CYLLM_REDIS_URL="redis://unused", model="m", engine="remote")
        async with httpx.AsyncClient(base_url=address, transport=transport) as client:
            await RemoteEngine(client, settings).wait_ready(timeout_s, reports.append)

    try:
        asyncio.run(wait())
    except EngineFailedError as error:
        reports.append(str(error))
    return reports


def test_each_new_reason_is_reported_once_and_credentials_never(caplog: pytest.LogCaptureFixture) -> None:
    statuses = iter([404, 404, 503, 503, 200])
    transport = httpx.MockTransport(lambda _request: httpx.Response(next(statuses)))
    with caplog.at_level("WARNING", logger="cyllm.worker.remote"):
        reports = _wait("http://me:hunter2@engine:8000/up?key=hunter3", transport, timeout_s=5)
    prefix = "waiting for the remote engine at http://engine:8000/up: status"
    assert reports == [f"{prefix} 404 for /v1/models", f"{prefix} 503 for /v1/models"]
    assert [record.getMessage() for record in caplog.records] == reports


def test_an_unreachable_engine_is_reported_with_the_operating_systems_reason() -> None:
    with closing(socket.socket()) as silent:
        silent.bind(("127.0.0.1", 0))  # bound, but nothing listens
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        reports = _wait(address, None)
    assert reports == [
        f"waiting for the remote engine at {address}: connection refused",
        f"no engine responded at {address}: connection refused",
    ]


def test_a_failure_without_a_system_error_is_reported_by_its_type() -> None:
    def fail(_request: httpx.Request) -> httpx.Response:
        raise httpx.RemoteProtocolError("cut")

    assert "RemoteProtocolError" in _wait("http://engine", httpx.MockTransport(fail))[0]
