"""The load: N streams at once over plain HTTP/1.1 connections, with as little work of its own as can be."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass

PROMPT = "Tell me about the sea. "


@dataclass(frozen=True, slots=True)
class Target:
    """An OpenAI-speaking server."""

    name: str
    port: int
    key: str
    model: str


@dataclass(frozen=True, slots=True)
class Result:
    """``tokens_per_s`` over all streams; ``first_token_s`` is the median over them."""

    tokens_per_s: float
    first_token_s: float


class StreamError(Exception):
    """A stream that did not end as it should; the benchmark's figures would mean nothing."""


class _StreamReader(asyncio.Protocol):
    """Counts server-sent events in a chunked answer; knows the first with content and the end."""

    def __init__(self, request: bytes) -> None:
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.events = 0
        self.first_at = 0.0
        self._request = request
        self._tail = b""
        self._head = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - narrowing
        self._transport = transport
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        if not self.events and len(self._head) < 4096:
            self._head += data
        seen = self._tail + data
        self.events += seen.count(b"data: {")
        if not self.first_at and b'"content":"' in seen and b'"content":""' not in seen[-400:]:
            self.first_at = time.perf_counter()
        if b"data: [DONE]" in seen:
            self._finish()
        self._tail = data[-11:] if not data.endswith(b"\n\n") else b""

    def connection_lost(self, exc: Exception | None) -> None:
        self._finish()

    def _finish(self) -> None:
        if not self.done.done():
            self.done.set_result(None)
            self._transport.close()

    def check(self, tokens: int) -> None:
        """Raises StreamError unless the answer was a whole stream of about ``tokens`` pieces."""
        # An engine may put two tokens into one event when it is ahead of its reader.
        if b" 200 " not in self._head[:20] or not tokens // 2 <= self.events <= tokens + 4:
            raise StreamError(f"{self.events} events for {tokens} tokens: {self._head[:600]!r}")


def _request(target: Target, tokens: int, salt: int) -> bytes:
    body = json.dumps(
        {
            "model": target.model,
            "messages": [{"role": "user", "content": f"{salt} {PROMPT}"}],
            "max_tokens": tokens,
            "temperature": 0,
            "stream": True,
            "ignore_eos": True,
        }
    ).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:{target.port}\r\n"
        f"Authorization: Bearer {target.key}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def run_load(target: Target, streams: int, tokens: int, salt: int) -> Result:
    """``streams`` answers of ``tokens`` tokens at once. Raises StreamError if one isn't whole."""
    loop = asyncio.get_running_loop()
    began = time.perf_counter()
    readers: list[_StreamReader] = []
    for n in range(streams):
        request = _request(target, tokens, salt * 1000 + n)
        _, reader = await loop.create_connection(
            lambda request=request: _StreamReader(request),  # type: ignore[misc]  # bound by default
            "127.0.0.1",
            target.port,
        )
        readers.append(reader)
    await asyncio.gather(*(reader.done for reader in readers))
    took = time.perf_counter() - began
    for reader in readers:
        reader.check(tokens)
    firsts = sorted(reader.first_at - began for reader in readers)
    return Result(streams * tokens / took, firsts[len(firsts) // 2])
