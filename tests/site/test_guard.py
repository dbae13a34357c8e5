"""The guard around one connection, in front of applications that do what ours never should."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from api.gateway.http.exchange import REFUSED
from api.openai.errors.service import Overloaded
from cyllm_site import guard

GET = b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST /v1/chat HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n"
START = {"type": "http.response.start", "status": 200, "headers": []}


async def _raises(scope: Any, receive: Any, send: Any) -> None:
    raise ZeroDivisionError("sk-cy-aaaa-secret")


async def _says_nothing(scope: Any, receive: Any, send: Any) -> None:
    return


async def _refuses(scope: Any, receive: Any, send: Any) -> None:
    raise Overloaded()


async def _waits(scope: Any, receive: Any, send: Any) -> None:
    await asyncio.Event().wait()


async def reads(scope: Any, receive: Any, send: Any) -> None:
    """Answers when it has read all; says what the guard found in the head, as ours do."""
    if (fault := scope.get("extensions", {}).get(REFUSED)) is not None:
        raise fault
    body = b""
    while (message := await receive())["type"] == "http.request":
        body += message["body"]
        if not message["more_body"]:
            break
    await send({**START, "headers": [(b"content-length", str(len(body)).encode())]})
    await send({"type": "http.response.body", "body": body})


async def _waits_for_a_leaving_client(scope: Any, receive: Any, send: Any) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _answers_at_once(scope: Any, receive: Any, send: Any) -> None:
    await send({**START, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"no"})


async def _breaks_off(scope: Any, receive: Any, send: Any) -> None:
    await send({**START, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"n", "more_body": True})
    raise ZeroDivisionError


@dataclass
class Served:
    """A connection to a guarded application, and the tasks that answer on it."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    state: ServerState

    async def rest(self) -> bytes:
        """All that comes until the server closes."""
        async with asyncio.timeout(5):
            return await self.reader.read()


@asynccontextmanager
async def served(
    application: Callable[..., Any], keep_alive_s: int = 5
) -> AsyncIterator[tuple[str, int, ServerState]]:
    """A guarded application: its address, and the state of its server."""
    config = uvicorn.Config(application, ws="none", log_config=None, timeout_keep_alive=keep_alive_s)
    config.load()
    state = ServerState()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: guard.GuardedProtocol(config, state, {}, loop), "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    try:
        yield host, port, state
    finally:
        for task in list(state.tasks):
            task.cancel()
        await asyncio.sleep(0)
        for connection in list(state.connections):
            connection.transport.abort()
        server.close()
        await asyncio.sleep(0.02)


@asynccontextmanager
async def _served(application: Callable[..., Any], keep_alive_s: int = 5) -> AsyncIterator[Served]:
    async with served(application, keep_alive_s) as (host, port, state):
        reader, writer = await asyncio.open_connection(host, port)
        yield Served(reader, writer, state)
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


def _error(answer: bytes) -> tuple[int, str]:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"\r\ncontent-type: application/json" in head.lower()
    return int(head.split()[1]), json.loads(body)["error"]["code"]


@pytest.mark.criterion("4.2")
@pytest.mark.parametrize(
    ("application", "status", "code"),
    [
        (_raises, 500, "internal_error"),
        (_says_nothing, 500, "internal_error"),
        (_refuses, 503, "overloaded"),
    ],
)
async def test_what_an_application_leaves_unsaid_is_said_in_the_catalogues_form(
    application: Any, status: int, code: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with _served(application) as one:
        one.writer.write(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        assert _error(await one.rest()) == (status, code)
    assert "secret" not in caplog.text
    if application is _raises:
        assert "an application failed: id=req_" in caplog.text


async def test_an_answer_that_breaks_off_ends_the_connection_and_nothing_is_put_behind_it() -> None:
    async with _served(_breaks_off) as one:
        one.writer.write(GET)
        assert (await one.rest()).endswith(b"\r\n\r\nn")


@pytest.mark.criterion("4.2")
async def test_a_server_that_stops_says_so_to_who_still_waits() -> None:
    async with _served(_waits) as one:
        one.writer.write(GET)
        await asyncio.sleep(0.05)
        (task,) = one.state.tasks
        task.cancel()
        assert _error(await one.rest()) == (503, "gateway_stopping")


async def test_a_head_that_is_never_finished_is_told_so_and_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    assert guard.HEAD_TIMEOUT_S <= 30
    monkeypatch.setattr(guard, "HEAD_TIMEOUT_S", 0.2)
    async with _served(reads) as one:
        for piece in (b"GET /v1/mod", b"els HT", b"TP/1.1\r\nX-A: b", b"\r\nX-C: d"):
            one.writer.write(piece)
            await asyncio.sleep(0.06)
        assert _error(await one.rest()) == (408, "head_timeout")


async def test_a_connection_on_which_nothing_comes_is_ended_without_a_word(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(guard, "HEAD_TIMEOUT_S", 0.1)
    async with _served(reads) as one:
        assert await one.rest() == b""


async def test_a_body_that_never_ends_does_not_hold_a_connection_that_was_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert guard.DRAIN_TIMEOUT_S <= 30
    monkeypatch.setattr(guard, "DRAIN_TIMEOUT_S", 0.2)
    async with _served(_answers_at_once) as one:
        for piece in (POST, b"a", b"b", b"c"):
            one.writer.write(piece)
            await asyncio.sleep(0.06)
        begun = asyncio.get_running_loop().time()
        assert (await one.rest()).endswith(b"no")
        assert asyncio.get_running_loop().time() - begun < 0.3


async def test_a_body_that_ends_after_its_answer_leaves_the_connection_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(guard, "DRAIN_TIMEOUT_S", 0.2)
    async with _served(_answers_at_once) as one:
        one.writer.write(POST)
        await one.reader.readuntil(b"no")
        one.writer.write(b"a" * 10)
        await asyncio.sleep(0.4)
        one.writer.write(GET)
        assert (await one.reader.readuntil(b"no")).startswith(b"HTTP/1.1 200")


async def test_a_body_broken_by_its_client_is_refused_through_the_application() -> None:
    async with _served(reads) as one:
        one.writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        await asyncio.sleep(0.02)
        one.writer.write(b"3\r\nabc\r\nzz\r\n")
        assert _error(await one.rest()) == (400, "invalid_http_request")


async def test_what_follows_a_request_that_is_being_answered_breaks_nothing() -> None:
    release = asyncio.Event()

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        await release.wait()
        await _answers_at_once(scope, receive, send)

    async with _served(slow) as one:
        one.writer.write(GET + b"\x00garbage\r\n\r\n")
        await asyncio.sleep(0.05)
        release.set()
        answer = await one.rest()
    assert answer.count(b"HTTP/1.1 ") == 1
    assert answer.endswith(b"no")


async def test_who_closes_the_sending_side_of_a_post_has_left_and_is_still_told_so() -> None:
    async with _served(_waits_for_a_leaving_client) as one:
        one.writer.write(POST + b"a" * 10)
        await asyncio.sleep(0.02)
        one.writer.write_eof()
        assert _error(await one.rest()) == (499, "client_disconnected")


async def test_who_closes_the_sending_side_of_a_get_has_time_for_what_is_read_in_a_moment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def slow(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(0.1)
        await _answers_at_once(scope, receive, send)

    async with _served(slow) as one:
        one.writer.write(GET)
        one.writer.write_eof()
        assert (await one.rest()).endswith(b"no")
    monkeypatch.setattr(guard, "LEAVING_S", 0.1)
    async with _served(_waits_for_a_leaving_client) as one:
        one.writer.write(GET)
        one.writer.write_eof()
        assert _error(await one.rest()) == (499, "client_disconnected")


@pytest.mark.parametrize("sent", [GET, POST])
async def test_empty_lines_and_late_bodies_do_not_keep_an_idle_connection_open(sent: bytes) -> None:
    async with _served(_answers_at_once, keep_alive_s=1) as one:
        one.writer.write(sent)
        await one.reader.readuntil(b"no")
        one.writer.write(b"a" * 10 if sent is POST else b"\r\n")
        await asyncio.sleep(0.5)
        if sent is GET:
            one.writer.write(b"\r\n")
        begun = asyncio.get_running_loop().time()
        assert await one.rest() == b""
        assert asyncio.get_running_loop().time() - begun < 0.9
