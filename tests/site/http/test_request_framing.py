"""Heads and framing that HTTP forbids are refused, with a truthful reason."""

from __future__ import annotations

import asyncio
import json

import pytest

from tests.patience import PATIENCE_S
from tests.site.harness.guarded import echo, serve

HEAD = b"POST / HTTP/1.1\r\nHost: x\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
END = b"\r\n"
NOT_HTTP = "invalid_http_request"
CODING = "transfer_coding_not_supported"
VERSION = "http_version_not_supported"
MALFORMED: dict[str, tuple[bytes, int, str, str]] = {
    "bare line feeds": (b"GET / HTTP/1.1\nHost: x\n\n", 400, NOT_HTTP, "CRLF"),
    "a bare line feed after a header": (HEAD + b"A: b\n\r\n", 400, NOT_HTTP, "CRLF"),
    "a bare line feed at the end": (HEAD + b"\n", 400, NOT_HTTP, "header name"),
    "bare carriage returns": (b"GET / HTTP/1.1\rHost: x\r\r", 400, NOT_HTTP, "CRLF"),
    "a bare carriage return in a value": (HEAD + b"A: b\rC: d\r\n\r\n", 400, NOT_HTTP, "bare CR"),
    "a folded value": (HEAD + b"A: b\r\n c\r\n\r\n", 400, NOT_HTTP, "folded"),
    "a fold after the request line": (b"GET / HTTP/1.1\r\n Host: x\r\n\r\n", 400, NOT_HTTP, "start line"),
    "white space before a colon": (HEAD + b"A : b\r\n\r\n", 400, NOT_HTTP, "header name"),
    "white space before a coding's colon": (
        HEAD + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        400,
        NOT_HTTP,
        "header name",
    ),
    "a long version": (b"GET / HTTP/1.11\r\nHost: x\r\n\r\n", 400, NOT_HTTP, "version"),
    "a version that is none": (b"GET / HTTP/one\r\nHost: x\r\n\r\n", 400, NOT_HTTP, "version"),
    "an unknown version": (b"GET / HTTP/1.2\r\nHost: x\r\n\r\n", 505, VERSION, "HTTP/1.1"),
    "no version": (b"GET /\r\n\r\n", 505, VERSION, "HTTP/1.1"),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, VERSION, "HTTP/1.1"),
    "the same length twice": (HEAD + b"Content-Length: 2\r\n" * 2 + b"\r\n{}", 400, NOT_HTTP, "Length"),
    "a list of lengths": (HEAD + b"Content-Length: 2, 2\r\n\r\n{}", 400, NOT_HTTP, "Length"),
    "a length with a sign": (HEAD + b"Content-Length: +2\r\n\r\n{}", 400, NOT_HTTP, "Length"),
    "chunks and a length": (
        HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n0\r\n\r\n",
        400,
        NOT_HTTP,
        "Length",
    ),
    "a coding before chunked": (
        HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        501,
        CODING,
        "chunked",
    ),
    "a coding in a header of its own": (
        HEAD + b"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        501,
        CODING,
        "chunked",
    ),
    "identity before chunked": (
        HEAD + b"Transfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n",
        501,
        CODING,
        "chunked",
    ),
    "a coding without chunks": (HEAD + b"Transfer-Encoding: gzip\r\n\r\n{}", 400, NOT_HTTP, "chunked"),
    "a coding after chunked": (
        HEAD + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
        400,
        NOT_HTTP,
        "Transfer-Encoding",
    ),
    "chunked twice": (
        HEAD + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
        400,
        NOT_HTTP,
        "Transfer-Encoding",
    ),
    "chunked with a parameter": (
        HEAD + b"Transfer-Encoding: chunked;a=b\r\n\r\n0\r\n\r\n",
        400,
        NOT_HTTP,
        "chunked",
    ),
    "a coding with a similar name": (
        HEAD + b"Transfer-Encoding: xchunked\r\n\r\n{}",
        400,
        NOT_HTTP,
        "chunked",
    ),
    "no coding": (HEAD + b"Transfer-Encoding:\r\n\r\n{}", 400, NOT_HTTP, "Transfer-Encoding"),
    "chunks in HTTP/1.0": (
        b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
        NOT_HTTP,
        "HTTP/1.0",
    ),
    "a chunk size with a prefix": (CHUNKED + b"0x2\r\n{}\r\n0\r\n\r\n", 400, NOT_HTTP, "chunk size"),
    "a chunk size with a space": (CHUNKED + b"2 \r\n{}\r\n0\r\n\r\n", 400, NOT_HTTP, "chunk size"),
    "a chunk size with a sign": (CHUNKED + b"+2\r\n{}\r\n0\r\n\r\n", 400, NOT_HTTP, "chunk size"),
    "an empty chunk size": (CHUNKED + b"\r\n{}\r\n0\r\n\r\n", 400, NOT_HTTP, "chunk size"),
    "a huge chunk size": (CHUNKED + b"f" * 17 + b"\r\n{}\r\n", 400, NOT_HTTP, "verflow"),
    "chunks with bare line feeds": (CHUNKED + b"2\n{}\n0\n\n", 400, NOT_HTTP, "chunk size"),
    "an extension with a bare line feed": (CHUNKED + b"2;a\n{}\r\n0\r\n\r\n", 400, NOT_HTTP, "chunk"),
    "a chunk longer than its size": (CHUNKED + b"2\r\n{}}\r\n0\r\n\r\n", 400, NOT_HTTP, "chunk"),
}


async def _send(data: bytes) -> bytes:
    async with serve(echo) as (host, port, _), asyncio.timeout(PATIENCE_S):
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(data)
        response = await reader.read()
        writer.close()
    return response


@pytest.mark.case("robustness.16")
@pytest.mark.criterion("4.2")
@pytest.mark.parametrize("name", MALFORMED)
async def test_forbidden_framing_is_refused_with_its_reason_and_a_closed_connection(name: str) -> None:
    data, status, code, reason = MALFORMED[name]
    head, _, body = (await _send(data)).partition(b"\r\n\r\n")
    error = json.loads(body)["error"]
    assert (int(head.split()[1]), error["code"]) == (status, code)
    assert reason in error["message"]
    assert b"\r\nconnection: close" in head


@pytest.mark.case("robustness.16")
@pytest.mark.parametrize(
    "request_bytes",
    [
        HEAD.replace(b"1.1\r\n", b"1.1\r\nTransfer-Encoding: Chunked\r\n")
        + b'\r\n2;a=b;c="d"\r\n{}\r\n0;x\r\n\r\n',
        CHUNKED + b"0002\r\n{}\r\n00\r\nTrailer: x\r\n\r\n",
        b"\r\n" + HEAD + b"Content-Length: 002\r\n\r\n{}",
        b"POST / HTTP/1.0\r\nContent-Length: 2\r\n\r\n{}",
    ],
)
async def test_unusual_but_valid_framing_is_served(request_bytes: bytes) -> None:
    data = request_bytes.replace(b"Host: x\r\n", b"Host: x\r\nConnection: close\r\n")
    response = await _send(data)
    assert response.startswith(b"HTTP/1.1 200 OK\r\n")
    assert response.endswith(b"\r\n\r\n{}")
