"""HTTP/1.0: bodies without chunks, ended by the end of the connection."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.gateway.harness.calls import CHAT
from tests.patience import PATIENCE_S
from tests.site.harness.guarded import START, serve

EVENTS = [b"data: a\n\n", b"data: b\n\n", b"data: [DONE]\n\n"]
HEADER = (b"content-type", b"text/event-stream")


async def _stream(_: Any, receive: Any, send: Any) -> None:
    while (await receive()).get("more_body", False):
        pass
    await send({**START, "headers": [HEADER]})
    for event in EVENTS:
        await send({"type": "http.response.body", "body": event, "more_body": True})
        await asyncio.sleep(0)
    await send({"type": "http.response.body", "body": b""})


async def _document(_: Any, receive: Any, send: Any) -> None:
    await send({**START, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


async def _ask(application: Any, method: str, fields: str = "") -> tuple[bytes, bytes]:
    """Make a request with HTTP/1.0 and return the head and all that follows until the connection ends."""
    request = f"{method} {CHAT} HTTP/1.0\r\nContent-Length: 2\r\n{fields}\r\n{{}}"
    async with serve(application) as (host, port, _), asyncio.timeout(PATIENCE_S):
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(request.encode())
        data = await reader.read()
        writer.close()
    head, _, body = data.partition(b"\r\n\r\n")
    return head, body


@pytest.mark.case("clients.11")
@pytest.mark.parametrize("method", ["POST", "GET"])
@pytest.mark.parametrize("fields", ["", "Connection: keep-alive\r\n", "Host: x\r\nConnection: close\r\n"])
async def test_a_stream_has_no_chunks_and_ends_with_its_connection(method: str, fields: str) -> None:
    head, body = await _ask(_stream, method, fields)
    assert body == b"".join(EVENTS)
    assert b"transfer-encoding" not in head
    assert b"content-length" not in head
    assert b"\r\nconnection: close" in head


@pytest.mark.case("clients.11")
@pytest.mark.parametrize("fields", ["", "Connection: keep-alive\r\n"])
async def test_a_document_has_its_length(fields: str) -> None:
    head, body = await _ask(_document, "POST", fields)
    assert body == b"ok"
    assert b"\r\ncontent-length: 2" in head
    assert b"\r\nconnection: close" in head


@pytest.mark.case("clients.11")
@pytest.mark.parametrize("application", [_stream, _document])
async def test_a_response_to_head_has_no_body(application: Any) -> None:
    head, body = await _ask(application, "HEAD")
    assert body == b""
    assert b"transfer-encoding" not in head
