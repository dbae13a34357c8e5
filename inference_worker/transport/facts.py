"""Writes facts to the durable stream, and holds them back while Redis is away."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from typing import Any

from inference_worker.protocol import codec, names
from inference_worker.protocol.messages import Fact
from inference_worker.transport.address import Address
from inference_worker.transport.redis_connection import RedisConnection, RedisUnavailable

logger = logging.getLogger("cyllm.facts")

MAX_BACKLOG = 200_000
RETRY_INTERVAL_S = 0.2


class FactWriter:
    """Adds facts in the background. A fact may be written twice after a broken connection, never lost
    while this process lives and the backlog has room; the ledger takes two for one.
    """

    def __init__(self, url: str) -> None:
        self._link = RedisConnection(Address.from_url(url))
        self._backlog: deque[bytes] = deque()
        self._in_flight = 0
        self._retry: asyncio.Task[None] | None = None
        self.dropped = 0

    @property
    def backlog(self) -> int:
        """Facts not yet confirmed by Redis."""
        return len(self._backlog) + self._in_flight

    @property
    def is_up(self) -> bool:
        """Whether Redis can be reached now."""
        return self._link.is_up

    async def start(self) -> None:
        """Connect in the background."""
        await self._link.start()
        self._retry = asyncio.create_task(self._retry_backlog(), name="facts-retry")

    async def stop(self, timeout_s: float = 5.0) -> None:
        """Write what is left, within ``timeout_s``, and close. What could not be written is logged."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        while self.backlog and loop.time() < deadline:
            await asyncio.sleep(0.02)
        if self.backlog:
            logger.error("%d facts could not be written before the end", self.backlog)
        if self._retry:
            self._retry.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._retry
        await self._link.stop()

    async def put(self, fact: Fact) -> None:
        """Write now and wait for the confirmation. Raises RedisUnavailable: the fact is then not held back."""
        await self._link.call(*self._command(codec.encode(fact)))

    def add(self, fact: Fact) -> None:
        """Write in the background."""
        self._send(codec.encode(fact))

    def call(self, *command: str | bytes | int | float) -> asyncio.Future[Any]:
        """Any other command on this connection. Raises RedisUnavailable."""
        return self._link.call(*command)

    @staticmethod
    def _command(data: bytes) -> tuple[str | bytes, ...]:
        return ("XADD", names.FACTS_STREAM, "*", names.FACTS_FIELD, data)

    def _send(self, data: bytes) -> None:
        if self._backlog and not self._link.is_up:
            self._hold(data)
            return
        try:
            reply = self._link.call(*self._command(data))
        except RedisUnavailable:
            self._hold(data)
            return
        self._in_flight += 1

        def confirmed(done: asyncio.Future[Any]) -> None:
            self._in_flight -= 1
            if done.cancelled() or done.exception() is not None:
                self._hold(data)

        reply.add_done_callback(confirmed)

    def _hold(self, data: bytes) -> None:
        if len(self._backlog) >= MAX_BACKLOG:
            self._backlog.popleft()
            self.dropped += 1
            logger.error("facts backlog is full (%d): the oldest fact is dropped", MAX_BACKLOG)
        self._backlog.append(data)

    async def _retry_backlog(self) -> None:
        while True:
            await asyncio.sleep(RETRY_INTERVAL_S)
            for _ in range(len(self._backlog) if self._link.is_up else 0):
                self._send(self._backlog.popleft())
