"""The load: N streams at once over plain HTTP/1.1 connections, with as little work of its own as can be."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass
from typing import cast

TAIL_BYTES = 1000
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
    """Keeps the beginning and the end of a chunked answer; knows when the first content came."""

    def __init__(self, request: bytes) -> None:
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.first_at = 0.0
        self._request = request
        self._head = b""
        self._tail = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are no subclasses
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        if not self.first_at:
            self._head += data
            if b'"content":"' in self._head.replace(b'"content":""', b""):
                self.first_at = time.perf_counter()
        self._tail = self._tail[-TAIL_BYTES:] + data
        if b"data: [DONE]" in self._tail:
            self._finish()

    def connection_lost(self, _: Exception | None) -> None:
        self._finish()

    def _finish(self) -> None:
        if not self.done.done():
            self.done.set_result(None)
            self._transport.close()

    def check(self, tokens: int) -> None:
        """Raises StreamError unless the answer was a whole stream of ``tokens`` tokens, by its usage.

        Events are not counted: vLLM puts several tokens into one when it is ahead of its reader.
        """
        if b" 200 " not in self._head[:20] or b'"completion_tokens":%d' % tokens not in self._tail:
            raise StreamError(f"no stream of {tokens} tokens: {self._head[:300]!r} … {self._tail[-300:]!r}")


def _request(target: Target, tokens: int, salt: int) -> bytes:
    body = json.dumps(
        {
            "model": target.model,
            "messages": [{"role": "user", "content": f"{salt} {PROMPT}"}],
            "max_tokens": tokens,
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True},
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
