"""Mutated requests get a response of the application or an error of the catalogue."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from itertools import pairwise
from random import Random

import pytest

from api.openai.errors.catalogue import CATALOGUE
from tests.patience import PATIENCE_S
from tests.site.harness.guarded import echo, serve

CHUNKED = b"Transfer-Encoding: chunked\r\n"
SEEDS = (
    b"GET /v1/models HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer k\r\n\r\n",
    b"POST /v1/chat HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 4\r\n\r\nbody",
    b"POST /v1/chat HTTP/1.1\r\nHost: x\r\n" + CHUNKED + b"\r\n4\r\nbody\r\n0\r\nX-T: a\r\n\r\n",
    b"POST /a HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\nbody",
    b"GET http://x:80/v1/%6dodels?a=b#c HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
)
WORDS = (
    *(b"\r\n", b"\n", b"\r", b"\x00", b" ", b"\t", b":", b"%00", b"\xff", b"CONNECT", b"OPTIONS *"),
    *(b"HTTP/2.0", b"HTTP/1.0", b"HTTP/3.0", b"Host: y\r\n", b"Expect: x\r\n", b"Content-Length: 9\r\n"),
    *(CHUNKED, b"Transfer-Encoding: gzip\r\n", b"Upgrade: h2c\r\nConnection: upgrade\r\n"),
    *(b"0\r\n\r\n", b"ffffffffffffffff\r\n", b"X-Long: " + b"a" * 70_000 + b"\r\n"),
)
CASES = 5000


def mutate(random: Random) -> bytes:
    """Return one or two seeds with up to four mutations."""
    data = bytearray(b"".join(random.choices(SEEDS, k=random.choice((1, 1, 1, 2)))))
    for _ in range(random.randrange(5)):
        at = random.randrange(len(data) + 1)
        match random.randrange(4):
            case 0:
                data[at:at] = random.choice(WORDS)
            case 1:
                del data[at : at + random.randrange(12)]
            case 2:
                data[at : at + 1] = bytes([random.randrange(256)])
            case _:
                data[at:at] = data[random.randrange(len(data) + 1) :][: random.randrange(20)]
    return bytes(data)


def heads(responses: bytes) -> list[bytes]:
    """Return the heads of all responses on a connection; check each error against the catalogue."""
    result = []
    while responses:
        head, separator, rest = responses.partition(b"\r\n\r\n")
        assert separator, responses
        assert head.startswith(b"HTTP/1.1 "), responses
        result.append(head)
        lines = dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:])
        length = int(lines.get(b"content-length", 0))
        if lines.get(b"content-type") == b"application/json":
            error = json.loads(rest[:length])["error"]
            assert CATALOGUE[error["code"]].status == int(head.split()[1])
        else:
            assert head.split()[1] in (b"200", b"100"), responses
        responses = rest[length:]
    return result


@pytest.mark.criterion("4.2")
async def test_mutated_requests_get_valid_responses(
    caplog: pytest.LogCaptureFixture,
) -> None:
    random = Random(7)
    statuses: dict[bytes, int] = {}
    async with serve(echo) as (host, port, _):
        for number in range(CASES):
            data = mutate(random)
            responses = await _send(host, port, data, random)
            for head in heads(responses):
                status = head.split()[1]
                statuses[status] = statuses.get(status, 0) + 1
            if number % 100 == 0:
                assert heads(await _send(host, port, SEEDS[0], random))[0].startswith(b"HTTP/1.1 200")
    assert {b"200", b"400", b"417", b"431", b"505"} <= statuses.keys(), statuses
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


async def _send(host: str, port: int, data: bytes, random: Random) -> bytes:
    reader, writer = await asyncio.open_connection(host, port)
    with contextlib.suppress(OSError):
        for piece in _pieces(data, random):
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)
        writer.write_eof()
    responses = b""
    with contextlib.suppress(OSError):
        async with asyncio.timeout(PATIENCE_S):
            while piece := await reader.read(65536):
                responses += piece
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return responses


def _pieces(data: bytes, random: Random) -> list[bytes]:
    cuts = sorted(random.randrange(len(data) + 1) for _ in range(random.choice((0, 0, 1, 3))))
    bounds = [0, *cuts, len(data)]
    return [data[start:end] for start, end in pairwise(bounds)]
