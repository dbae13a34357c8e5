"""The load generator: N concurrent streams over plain HTTP/1.1 connections, at a minimum of CPU time."""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from inference_worker.protocol import sse

TAIL_BYTES = 1000
PROMPT = "Tell me about the sea. "


@dataclass(frozen=True, slots=True)
class Target:
    """A server with an OpenAI-compatible API."""

    name: str
    port: int
    key: str
    model: str


@dataclass(frozen=True, slots=True)
class Result:
    """``tokens_per_s`` is the total of all streams; ``first_token_s`` is their median."""

    tokens_per_s: float
    first_token_s: float


@dataclass(frozen=True, slots=True)
class Load:
    """Concurrent responses of equal length, several times in succession if they are short."""

    streams: int
    tokens: int
    repeats: int = 1

    @property
    def name(self) -> str:
        """The load as the tables name it."""
        return f"{self.streams} x {self.tokens}"

    @property
    def total_tokens(self) -> int:
        """The tokens of all responses."""
        return self.streams * self.tokens * self.repeats


def mean_result(results: Sequence[Result]) -> Result:
    """Return the result of equal loads in succession."""
    duration = sum(1 / result.tokens_per_s for result in results)
    first_token_s = statistics.median(result.first_token_s for result in results)
    return Result(len(results) / duration, first_token_s)


class StreamError(Exception):
    """A stream was incomplete, so the benchmark's figures would be meaningless."""


class _StreamReader(asyncio.Protocol):
    """Records the start and the end of a streamed response, and the arrival time of its first content."""

    def __init__(self, request: bytes) -> None:
        self.end: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.first_content_at = 0.0
        self._request = request
        self._head = b""
        self._tail = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's transports are not subclasses
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        if not self.first_content_at:
            self._head += data
            if b'"content":"' in self._head.replace(b'"content":""', b""):
                self.first_content_at = time.perf_counter()
        self._tail = self._tail[-TAIL_BYTES:] + data
        if sse.DONE in self._tail:
            self._finish()

    def connection_lost(self, _: Exception | None) -> None:
        self._finish()

    def _finish(self) -> None:
        if not self.end.done():
            self.end.set_result(None)
            self._transport.close()

    def check(self, tokens: int) -> None:
        """Raise StreamError unless the response is a complete stream with a usage of ``tokens`` tokens.

        The number of events proves nothing: vLLM merges tokens when it is ahead of its reader.
        """
        if b" 200 " not in self._head[:20] or b'"completion_tokens":%d' % tokens not in self._tail:
            raise StreamError(f"not {tokens} tokens: {self._head[:300]!r} … {self._tail[-300:]!r}")


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
    """Run ``streams`` concurrent responses of ``tokens`` tokens. Raises StreamError if one is incomplete."""
    loop = asyncio.get_running_loop()
    start = time.perf_counter()
    readers: list[_StreamReader] = []
    for n in range(streams):
        request = _request(target, tokens, salt * 1000 + n)
        _, reader = await loop.create_connection(
            lambda request=request: _StreamReader(request),  # type: ignore[misc]  # bound by default
            "127.0.0.1",
            target.port,
        )
        readers.append(reader)
    await asyncio.gather(*(reader.end for reader in readers))
    duration_s = time.perf_counter() - start
    for reader in readers:
        reader.check(tokens)
    first_token_times = sorted(reader.first_content_at - start for reader in readers)
    return Result(streams * tokens / duration_s, first_token_times[len(first_token_times) // 2])
