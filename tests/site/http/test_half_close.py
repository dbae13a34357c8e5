"""Half-closed connections: a client that waits gets its response, one that has gone is noticed."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable, Coroutine
from http.client import HTTPResponse
from typing import Any

import pytest
import uvloop

from cyllm_site.http_guard import half_close
from tests.patience import PATIENCE_S
from tests.site.harness.guarded import START, serve

Run = Callable[[Coroutine[Any, Any, None]], None]
GET = b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST /v1/chat HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"
CHUNKED = b"POST /v1/chat HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
EXPECTING = POST.replace(b"\r\nHost", b"\r\nExpect: 100-continue\r\nHost")
OLD = POST.replace(b"HTTP/1.1", b"HTTP/1.0")
EVENTS = [b"data: %d\n\n" % number for number in range(4)]


@pytest.fixture(params=[asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    """Runs a coroutine in one of the two event loops."""
    runner: Run = request.param
    return runner


async def _read_body(receive: Any) -> None:
    while (await receive()).get("more_body", False):
        pass


async def _document(scope: Any, receive: Any, send: Any) -> None:
    """Respond after a while, unless the client has gone."""
    await _read_body(receive)
    await _wait(receive, 0.4)
    await send({**START, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


async def _stream(scope: Any, receive: Any, send: Any) -> None:
    """Send events with a while between them."""
    await _read_body(receive)
    await send(START)
    for event in EVENTS:
        await send({"type": "http.response.body", "body": event, "more_body": True})
        await _wait(receive, 0.1)
    await send({"type": "http.response.body", "body": b""})


async def _wait(receive: Any, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            message = await receive()
    except TimeoutError:
        return
    raise AssertionError(message)


async def _ask(application: Any, request: bytes) -> tuple[bytes, bytes]:
    """Send a request, close the sending side, and return the raw response and its body."""
    async with serve(application) as (host, port, _):
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(request)
        writer.write_eof()
        async with asyncio.timeout(PATIENCE_S):
            data = await reader.read()
        writer.close()
    return data, _body_of(data)


def _body_of(data: bytes) -> bytes:
    """Return the body of a response as Python's own client reads it."""
    client, server = socket.socketpair()
    with client, server:
        server.sendall(data)
        server.shutdown(socket.SHUT_WR)
        response = HTTPResponse(client)
        response.begin()
        assert response.status == 200
        return response.read()


@pytest.mark.case("clients.13")
@pytest.mark.parametrize("request_bytes", [GET, POST, CHUNKED, OLD, EXPECTING])
@pytest.mark.parametrize(("application", "body"), [(_document, b"ok"), (_stream, b"".join(EVENTS))])
def test_a_client_that_closes_its_sending_side_gets_the_whole_response(
    run: Run, monkeypatch: pytest.MonkeyPatch, request_bytes: bytes, application: Any, body: bytes
) -> None:
    # More probes than a response of this length has otherwise.
    monkeypatch.setattr(half_close, "_FIRST_PROBE_S", 0.02)
    monkeypatch.setattr(half_close, "_PROBE_FACTOR", 1.0)
    monkeypatch.setattr(half_close, "_LONGEST_CHECK_S", 0.01)

    async def check() -> None:
        data, received_body = await _ask(application, request_bytes)
        assert data.startswith(b"HTTP/1.1 200 OK\r\n")
        assert received_body == body

    run(check())


class Gone:
    """An application that records the disconnect of its client."""

    def __init__(self, *, sends: int = 0, has_head: bool = False) -> None:
        self.is_told, self.has_begun = asyncio.Event(), asyncio.Event()
        self._sends, self._has_head = sends, has_head or sends > 0

    async def __call__(self, _: Any, receive: Any, send: Any) -> None:
        await _read_body(receive)
        if self._has_head:
            await send(START)
            await send({"type": "http.response.body", "body": EVENTS[0], "more_body": True})
        self.has_begun.set()
        writer = asyncio.create_task(self._write(send))
        while (await receive())["type"] != "http.disconnect":
            pass
        self.is_told.set()
        writer.cancel()

    async def _write(self, send: Any) -> None:
        for _ in range(self._sends):
            await asyncio.sleep(0.1)
            await send({"type": "http.response.body", "body": EVENTS[1], "more_body": True})


async def _leave(application: Gone, request: bytes, *, half_first: bool = False, reset: bool = False) -> None:
    """Send a request, close the connection, and wait until the application sees the disconnect."""
    loop = asyncio.get_running_loop()
    async with serve(application) as (host, port, _):
        connection = socket.create_connection((host, port))
        connection.setblocking(False)
        await loop.sock_sendall(connection, request)
        if half_first:
            connection.shutdown(socket.SHUT_WR)
        async with asyncio.timeout(PATIENCE_S):
            await application.has_begun.wait()
            if half_first:
                await asyncio.sleep(0.3)
                assert not application.is_told.is_set(), "a client that waits was taken for one that has gone"
            if reset:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.close()
            await application.is_told.wait()


@pytest.mark.case("clients.13")
@pytest.mark.parametrize("request_bytes", [GET, POST, CHUNKED])
@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("half_first", [False, True])
@pytest.mark.parametrize("has_head", [False, True])
def test_a_client_that_has_gone_is_noticed_while_nothing_is_sent(
    run: Run, request_bytes: bytes, reset: bool, half_first: bool, has_head: bool
) -> None:
    async def check() -> None:
        await _leave(Gone(has_head=has_head), request_bytes, half_first=half_first, reset=reset)

    run(check())


@pytest.mark.case("clients.13")
@pytest.mark.parametrize("half_first", [False, True])
def test_an_old_client_that_has_gone_is_noticed_when_an_event_is_sent(run: Run, half_first: bool) -> None:
    async def check() -> None:
        await _leave(Gone(sends=20), OLD, half_first=half_first)

    run(check())
