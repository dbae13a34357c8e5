"""Sockets of job pages, served by a real gateway over Postgres and Valkey."""

from __future__ import annotations

import contextlib
import json
import socket
from typing import Any

import httpx
import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.test import Client
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosedError, InvalidStatus

from tests.console.harness.jobs import job_with_steps, write_steps
from tests.gateway.harness.threads import in_thread
from tests.patience import PATIENCE_S
from tests.people import Cast
from training.jobs.services import job_cancel
from training.models import FineTuningJob

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def server(site_server: int, redis_url: str) -> int:
    """The port of the server."""
    return site_server


def _cookie(user: User) -> str:
    client = Client()
    client.force_login(user)
    session = f"{settings.SESSION_COOKIE_NAME}={client.cookies[settings.SESSION_COOKIE_NAME].value}"
    return f"another@application=1; {session}; é/=2"


def _socket(
    port: int, user: User | None, job: FineTuningJob, tenant: str = "acme", after: int = 0, **more: Any
) -> connect:
    headers = {} if user is None else {"cookie": _cookie(user)}
    origin = more.get("origin", f"http://127.0.0.1:{port}")
    address = f"ws://127.0.0.1:{port}/console/ws/{tenant}/jobs/{job.id}/?after={after}"
    compression = more.get("compression")
    return connect(address, origin=origin, additional_headers=headers, compression=compression)


async def _events(socket: ClientConnection, count: int) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = []
    while len(events) < count:
        events += json.loads(await socket.recv()).get("events", [])
    return events


async def _until_closed(socket: ClientConnection) -> tuple[list[dict[str, Any]], int]:
    """Return the frames until the server closes the socket, and its code."""
    frames = []
    with contextlib.suppress(ConnectionClosedError):  # of other codes than 1000
        async for text in socket:
            frames.append(json.loads(text))
    assert socket.close_code is not None
    return frames, socket.close_code


async def test_a_socket_sends_the_past_then_the_present_each_event_once(server: int, cast: Cast) -> None:
    job = await in_thread(lambda: job_with_steps(cast.acme, 50))
    head = job.next_event - 1
    async with await in_thread(lambda: _socket(server, cast.member, job, after=10)) as socket:
        past = await _events(socket, head - 10)
        await in_thread(lambda: write_steps(job, 51, 70))
        present = await _events(socket, 20)
    assert [event["number"] for event in past + present] == list(range(11, head + 21))
    assert [event["data"]["step"] for event in present] == list(range(51, 71))


async def test_an_ended_job_ends_its_socket(server: int, cast: Cast) -> None:
    job = await in_thread(lambda: job_with_steps(cast.acme, 3, runs=False))
    await in_thread(lambda: job_cancel(job_id=job.id, actor="tests"))
    async with await in_thread(lambda: _socket(server, cast.member, job)) as socket:
        frames, code = await _until_closed(socket)
    assert frames[-1]["end"] is True
    assert code == 1000


@pytest.mark.case("serving.13")
@pytest.mark.parametrize(
    ("name", "tenant", "code"), [("stranger", "acme", 4404), ("stranger", "globex", 4404), ("", "acme", 4401)]
)
async def test_strangers_are_cut_off(server: int, cast: Cast, name: str, tenant: str, code: int) -> None:
    job = await in_thread(lambda: job_with_steps(cast.acme, 1))
    user = getattr(cast, name) if name else None
    async with await in_thread(lambda: _socket(server, user, job, tenant)) as socket:
        assert await _until_closed(socket) == ([], code)


@pytest.mark.parametrize("origin", ["http://evil.example", "http://["])
async def test_pages_of_other_sites_open_no_socket(server: int, cast: Cast, origin: str) -> None:
    job = await in_thread(lambda: job_with_steps(cast.acme, 1))
    with pytest.raises(InvalidStatus) as refusal:
        async with await in_thread(lambda: _socket(server, cast.member, job, origin=origin)):
            pass
    assert refusal.value.response.status_code == 403


async def test_a_removed_member_is_cut_off_within_seconds(server: int, cast: Cast) -> None:
    from tenants.models import Membership

    job = await in_thread(lambda: job_with_steps(cast.acme, 1))
    async with await in_thread(lambda: _socket(server, cast.member, job)) as socket:
        await _events(socket, 1)
        await in_thread(lambda: Membership.objects.filter(user=cast.member).delete())
        _, code = await _until_closed(socket)
    assert code == 4404


async def test_other_paths_have_no_sockets(server: int, cast: Cast) -> None:
    async with httpx.AsyncClient() as client:
        response = await client.get(
            f"http://127.0.0.1:{server}/v1/models",
            headers={"connection": "upgrade", "upgrade": "websocket", "sec-websocket-version": "13"},
        )
    assert response.status_code == 401
    with pytest.raises(InvalidStatus):
        async with connect(f"ws://127.0.0.1:{server}/console/", compression=None):
            pass


async def test_frames_are_not_compressed_for_each_page(server: int, cast: Cast) -> None:
    job = await in_thread(lambda: job_with_steps(cast.acme, 1))
    async with await in_thread(lambda: _socket(server, cast.member, job, compression="deflate")) as socket:
        assert socket.protocol.extensions == []


async def test_a_session_has_a_bounded_number_of_sockets(server: int, cast: Cast) -> None:
    from api.console.live.sockets import MAX_SOCKETS

    job = await in_thread(lambda: job_with_steps(cast.acme, 1))
    cookie = await in_thread(lambda: _cookie(cast.member))
    address = f"ws://127.0.0.1:{server}/console/ws/acme/jobs/{job.id}/"
    options: dict[str, Any] = {
        "origin": f"http://127.0.0.1:{server}",
        "additional_headers": {"cookie": cookie},
        "compression": None,
    }
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(MAX_SOCKETS):
            socket = await stack.enter_async_context(connect(address, **options))
            await socket.recv()
        async with connect(address, **options) as closed_socket:
            assert await _until_closed(closed_socket) == ([], 4429)
    async with connect(address, **options) as socket:
        assert len(await _events(socket, 1)) >= 1


def _offer(port: int, job: FineTuningJob, cookie: str) -> socket.socket:
    """Return a connection that has offered a WebSocket."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)
    address = f"127.0.0.1:{port}"
    head = (
        f"GET /console/ws/acme/jobs/{job.id}/ HTTP/1.1\r\nHost: {address}\r\nOrigin: http://{address}\r\n"
        "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        f"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nCookie: {cookie}\r\n\r\n"
    )
    connection.sendall(head.encode())
    return connection


def test_a_head_that_is_too_long_for_a_socket_is_refused(server: int, cast: Cast) -> None:
    with _offer(server, job_with_steps(cast.acme, 1), "x" * 20_000) as connection:
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 431 ")
    assert b"headers_too_large" in answer


def test_a_client_that_reads_no_pongs_is_cut_off(server: int, cast: Cast) -> None:
    ping = b"\x89\xfd\0\0\0\0" + b"x" * 125
    with _offer(server, job_with_steps(cast.acme, 1), _cookie(cast.member)) as connection:
        assert connection.recv(12) == b"HTTP/1.1 101"
        with pytest.raises(ConnectionError):
            connection.sendall(ping * 1_000_000)
