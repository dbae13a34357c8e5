"""The HTTP guard in front of misbehaving applications."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any
from unittest.mock import Mock

import pytest
from uvicorn.server import ServerState

from api.gateway.capacity.pace import Pace
from api.openai.errors.service import Overloaded
from cyllm_site.http_guard import closing, discarding
from cyllm_site.http_guard import protocol as http_guard
from tests.gateway.harness.conditions import eventually
from tests.patience import PATIENCE_S
from tests.promises import assert_within, measured_again
from tests.site.harness.guarded import START, echo, serve

GET = b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST /v1/chat HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n"


async def _raises(scope: Any, receive: Any, send: Any) -> None:
    raise ZeroDivisionError("sk-cy-aaaa-secret")


async def _sends_nothing(scope: Any, receive: Any, send: Any) -> None:
    return


async def _refuses(scope: Any, receive: Any, send: Any) -> None:
    raise Overloaded()


async def _waits(scope: Any, receive: Any, send: Any) -> None:
    await asyncio.Event().wait()


async def _waits_for_disconnect(scope: Any, receive: Any, send: Any) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _responds_at_once(scope: Any, receive: Any, send: Any) -> None:
    await send({**START, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"no"})


async def _fails_midway(scope: Any, receive: Any, send: Any) -> None:
    await send({**START, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"n", "more_body": True})
    raise ZeroDivisionError


@dataclass
class Connection:
    """A connection to a guarded application, and the state of its server."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    state: ServerState

    async def read_all(self) -> bytes:
        """Read until the server closes the connection."""
        async with asyncio.timeout(PATIENCE_S):
            return await self.reader.read()


@asynccontextmanager
async def _connect(application: Callable[..., Any], keep_alive_s: int = 5) -> AsyncIterator[Connection]:
    async with serve(application, keep_alive_s) as (host, port, state):
        reader, writer = await asyncio.open_connection(host, port)
        yield Connection(reader, writer, state)
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


def _error(response: bytes) -> tuple[int, str]:
    head, _, body = response.partition(b"\r\n\r\n")
    assert b"\r\ncontent-type: application/json" in head.lower()
    return int(head.split()[1]), json.loads(body)["error"]["code"]


@pytest.mark.criterion("4.2")
@pytest.mark.parametrize(
    ("application", "status", "code"),
    [
        (_raises, 500, "internal_error"),
        (_sends_nothing, 500, "internal_error"),
        (_refuses, 503, "overloaded"),
    ],
)
async def test_an_application_without_a_response_gets_an_error_of_the_catalogue(
    application: Any, status: int, code: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with _connect(application) as connection:
        connection.writer.write(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        assert _error(await connection.read_all()) == (status, code)
    assert "secret" not in caplog.text
    if application is _raises:
        assert "an application failed: id=req_" in caplog.text


async def test_an_interrupted_response_closes_the_connection_without_more_data() -> None:
    async with _connect(_fails_midway) as connection:
        connection.writer.write(GET)
        assert (await connection.read_all()).endswith(b"\r\n\r\nn")


BULK = b"x" * (16 * 1024 * 1024)  # more than the buffers of the systems take


async def _breaks_off_a_download(scope: Any, receive: Any, send: Any) -> None:
    await send({**START, "headers": [(b"content-length", str(2 * len(BULK)).encode())]})
    with suppress(TimeoutError):
        async with asyncio.timeout(0.1):
            await send({"type": "http.response.body", "body": BULK, "more_body": True})
            await send({"type": "http.response.body", "body": BULK})


async def _sends_all_at_once(scope: Any, receive: Any, send: Any) -> None:
    await send({**START, "headers": [(b"content-length", str(len(BULK)).encode())]})
    await send({"type": "http.response.body", "body": BULK})


@pytest.mark.parametrize("application", [_breaks_off_a_download, _sends_all_at_once])
async def test_a_client_that_does_not_read_does_not_keep_a_connection_that_has_ended(
    application: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(closing, "FLUSH_TIMEOUT_S", 0.2)
    async with serve(application, keep_alive_s=1) as (host, port, state):
        with socket.create_connection((host, port)) as client:
            client.sendall(GET)
            await eventually(lambda: bool(state.connections))
            await eventually(lambda: not state.connections)


@pytest.mark.criterion("4.2")
async def test_a_stopping_server_tells_waiting_clients() -> None:
    async with _connect(_waits) as connection:
        connection.writer.write(GET)
        await eventually(lambda: bool(connection.state.tasks))
        (task,) = connection.state.tasks
        task.cancel()
        assert _error(await connection.read_all()) == (503, "gateway_stopping")


async def test_an_endless_head_gets_a_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    assert http_guard.HEAD_TIMEOUT_S <= 30
    monkeypatch.setattr(http_guard, "HEAD_TIMEOUT_S", 0.2)
    async with _connect(echo) as connection:
        for piece in (b"GET /v1/mod", b"els HT", b"TP/1.1\r\nX-A: b", b"\r\nX-C: d"):
            connection.writer.write(piece)
            await asyncio.sleep(0.06)
        assert _error(await connection.read_all()) == (408, "head_timeout")


async def test_an_idle_connection_is_closed_silently(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http_guard, "HEAD_TIMEOUT_S", 0.1)
    async with _connect(echo) as connection:
        assert await connection.read_all() == b""


async def test_an_endless_body_does_not_keep_the_connection_after_the_response(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert http_guard.DRAIN_TIMEOUT_S <= 30
    monkeypatch.setattr(http_guard, "DRAIN_TIMEOUT_S", 0.2)
    async with _connect(_responds_at_once) as connection:
        for piece in (POST, b"a", b"b", b"c"):
            connection.writer.write(piece)
            await asyncio.sleep(0.06)
        assert (await connection.read_all()).endswith(b"no")


async def test_a_body_that_ends_after_the_response_keeps_the_connection_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http_guard, "DRAIN_TIMEOUT_S", 0.5)
    async with _connect(_responds_at_once) as connection:
        connection.writer.write(POST)
        await connection.reader.readuntil(b"no")
        connection.writer.write(b"a" * 10)
        await asyncio.sleep(0.7)
        connection.writer.write(GET)
        assert (await connection.reader.readuntil(b"no")).startswith(b"HTTP/1.1 200")


@pytest.mark.case("robustness.1")
async def test_a_body_that_nobody_needs_is_read_at_a_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discarding, "_pace", Pace())
    monkeypatch.setattr(discarding, "SOCKET_S_PER_BYTE", 2.5e-7)

    async def refuse(scope: Any, receive: Any, send: Any) -> None:
        await send({**START, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body"})

    body, started_at = b"x" * 600_000, time.monotonic()
    async with serve(refuse) as (host, port, _):
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body))
        await reader.readuntil(b"\r\n\r\n")
        writer.write(body + b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        writer.close()
    # At a quarter of the time, less 0.1 s in advance and the last piece, with which the next request arrives.
    assert time.monotonic() - started_at > 0.2


@pytest.mark.case("robustness.1")
async def test_discarded_bytes_of_one_network_do_not_slow_those_of_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pace, flow, transport = Pace(), Mock(), Mock()
    transport.is_closing.return_value = False
    monkeypatch.setattr(discarding, "_pace", pace)
    for _ in range(10):
        discarding.pace_discarded(10**9, flow, transport, "2001:db8:1:2::a")
    flow.pause_reading.reset_mock()
    discarding.pace_discarded(1, flow, transport, "2001:db8:1:2::b")  # of the same customer
    flow.pause_reading.assert_called_once()
    for peer in ("2001:db8:9::a", "192.0.2.1", "/run/gateway.sock"):
        discarding.pace_discarded(1, flow, transport, peer)
    flow.pause_reading.assert_called_once()


async def test_a_malformed_body_raises_in_the_application() -> None:
    async with _connect(echo) as connection:
        connection.writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        await asyncio.sleep(0.02)
        connection.writer.write(b"3\r\nabc\r\nzz\r\n")
        assert _error(await connection.read_all()) == (400, "invalid_http_request")


async def test_data_after_a_running_request_is_ignored() -> None:
    release = asyncio.Event()

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        await release.wait()
        await _responds_at_once(scope, receive, send)

    async with _connect(slow) as connection:
        connection.writer.write(GET + b"\x00garbage\r\n\r\n")
        await asyncio.sleep(0.05)
        release.set()
        response = await connection.read_all()
    assert response.count(b"HTTP/1.1 ") == 1
    assert response.endswith(b"no")


@pytest.mark.parametrize("request_bytes", [GET, POST])
@measured_again
async def test_empty_lines_and_late_bodies_do_not_keep_an_idle_connection_open(request_bytes: bytes) -> None:
    async with _connect(_responds_at_once, keep_alive_s=1) as connection:
        connection.writer.write(request_bytes)
        await connection.reader.readuntil(b"no")
        connection.writer.write(b"a" * 10 if request_bytes is POST else b"\r\n")
        await asyncio.sleep(0.5)
        if request_bytes is GET:
            connection.writer.write(b"\r\n")
        started_at = asyncio.get_running_loop().time()
        assert await connection.read_all() == b""
        assert_within(asyncio.get_running_loop().time() - started_at, 0.9)
