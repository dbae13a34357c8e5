"""Offers to upgrade are ignored: the request is served over HTTP/1.1, with its body."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest

from cyllm_site.http_guard.upgrades import is_websocket_offer
from tests.patience import PATIENCE_S
from tests.site.harness.guarded import echo, serve

BODY = b'{"model":"m","messages":[]}'
# As java.net.http.HttpClient sends it; curl --http2 has the same fields in another order.
JAVA = (
    b"POST /v1/chat/completions HTTP/1.1\r\nConnection: Upgrade, HTTP2-Settings\r\n%sHost: 127.0.0.1:8000\r\n"
    b"HTTP2-Settings: AAEAAEAAAAIAAAAAAAMAAAAAAAQBAAAAAAUAAEAAAAYABgAA\r\n%sUpgrade: h2c\r\n"
    b"User-Agent: Java-http-client/17.0.15\r\nContent-Type: application/json\r\n\r\n"
)
WITH_LENGTH = JAVA % (b"Content-Length: %d\r\n" % len(BODY), b"") + BODY
CHUNKED = JAVA % (
    b"",
    b"Transfer-encoding: chunked\r\n",
) + b"5;x=y\r\n%s\r\n%x\r\n%s\r\n0\r\nT: x\r\n\r\n" % (
    BODY[:5],
    len(BODY) - 5,
    BODY[5:],
)
EMPTY = JAVA % (b"Content-Length: 0\r\n", b"")
NEXT = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"


async def _send(*pieces: bytes, has_next: bool = False) -> bytes:
    """Return all that the server sends for these pieces and, after its response, for another request."""
    data = b""
    async with serve(echo) as (host, port, _), asyncio.timeout(PATIENCE_S):
        reader, writer = await asyncio.open_connection(host, port)
        for piece in pieces:
            writer.write(piece)
            await asyncio.sleep(0.003)
        if has_next:
            data = await reader.readuntil(b"\r\n\r\n")
            data += await reader.readexactly(int(data.partition(b"content-length: ")[2].split()[0]))
            writer.write(NEXT)
        data += await reader.read()
        writer.close()
    return data


def _bodies(data: bytes) -> list[bytes]:
    heads_and_bodies = data.split(b"HTTP/1.1 200 OK\r\n")
    assert heads_and_bodies[0] == b"", data
    return [part.partition(b"\r\n\r\n")[2] for part in heads_and_bodies[1:]]


@pytest.mark.case("clients.9")
@pytest.mark.parametrize("request_bytes", [WITH_LENGTH, CHUNKED])
@pytest.mark.parametrize("cuts", [[], [-1], [-30], [-60, -20], [20, 200], "head", "each"])
async def test_the_body_of_an_offer_is_read_however_it_is_split(
    request_bytes: bytes, cuts: list[int] | str
) -> None:
    size, head_size = len(request_bytes), request_bytes.index(b"\r\n\r\n") + 4
    borders = cuts if isinstance(cuts, list) else [head_size] if cuts == "head" else range(1, size)
    bounds = [0, *(border % size for border in borders), size]
    pieces = [request_bytes[start:end] for start, end in pairwise(bounds)]
    # The connection serves another request afterwards, as after any other.
    assert _bodies(await _send(*pieces, has_next=True)) == [BODY, b"ok"]


@pytest.mark.case("clients.9")
@pytest.mark.parametrize("token", [b"websocket", b"h2c, websocket", b"TLS/1.2", b"h2", b"x"])
@pytest.mark.parametrize("method", [b"GET", b"POST", b"DELETE"])
async def test_other_offers_are_ignored_too(token: bytes, method: bytes) -> None:
    head = method + b" / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: " + token + b"\r\n"
    assert _bodies(await _send(head + b"\r\n", has_next=True)) == [b"", b"ok"]
    assert _bodies(await _send(head + b"Content-Length: 2\r\n\r\n{}", has_next=True)) == [b"{}", b"ok"]


async def test_an_offer_with_an_empty_body_is_complete() -> None:
    assert _bodies(await _send(EMPTY, has_next=True)) == [b"", b"ok"]


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
async def test_an_offer_may_wait_for_continue_and_close(version: bytes) -> None:
    head = b"POST / HTTP/" + version + b"\r\nHost: x\r\nConnection: close, Upgrade\r\nUpgrade: h2c\r\n"
    data = await _send(head + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n", b"{}")
    assert _bodies(data.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")) == [b"{}"]
    assert (b" 100 Continue" in data) == (version == b"1.1")


@pytest.mark.parametrize(
    ("framing", "body", "status"),
    [
        (b"Transfer-Encoding: gzip\r\n", b"{}", 400),
        (b"Transfer-Encoding: gzip, chunked\r\n", b"0\r\n\r\n", 501),
        (b"Transfer-Encoding: chunked\r\n", b"zz\r\n", 400),
        (b"Content-Length: 2\r\nContent-Length: 3\r\n", b"{}", 400),
        (b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n", 400),
    ],
)
async def test_the_rules_of_framing_hold_for_offers(framing: bytes, body: bytes, status: int) -> None:
    data = await _send(JAVA % (framing, b"") + body)
    assert data.startswith(b"HTTP/1.1 %d " % status)
    assert data.count(b"HTTP/1.1 ") == 1


async def test_curl_with_http2_gets_its_answer() -> None:
    async with serve(echo) as (host, port, _):
        for options in ([], ["--header", "Transfer-Encoding: chunked"]):
            process = await asyncio.create_subprocess_exec(
                *("curl", "--silent", "--http2", "--data", BODY.decode(), f"http://{host}:{port}/"),
                *options,
                stdout=asyncio.subprocess.PIPE,
            )
            assert (await process.communicate())[0] == BODY


@pytest.mark.parametrize(
    ("method", "target", "more", "is_offer"),
    [
        (b"GET", b"/console/ws/acme/jobs/x/?after=1", (), True),
        (b"POST", b"/console/ws/acme/jobs/x/", (), False),
        (b"GET", b"/console/wsx", (), False),
        (b"GET", b"/v1/models", (), False),
        (b"GET", b"/console/ws/a/", ((b"content-length", b"0"),), False),
        (b"GET", b"/console/ws/a/", ((b"transfer-encoding", b"chunked"),), False),
    ],
)
def test_only_the_console_offers_websockets(
    method: bytes, target: bytes, more: tuple[tuple[bytes, bytes], ...], is_offer: bool
) -> None:
    headers = ((b"host", b"x"), (b"connection", b"Upgrade"), (b"upgrade", b"WebSocket"), *more)
    assert is_websocket_offer(method, target, headers) is is_offer
    assert not is_websocket_offer(method, target, ((b"upgrade", b"h2c"),))
