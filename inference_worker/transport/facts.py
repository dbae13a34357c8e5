"""The writer of the durable facts stream, with a backlog while Redis is unavailable."""

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
    """Appends facts in the background.

    Every fact is written at least once, provided that the process lives and the backlog has room. A broken
    connection can cause duplicates, which the ledger ignores.
    """

    def __init__(self, url: str) -> None:
        self._connection = RedisConnection(Address.from_url(url))
        self._backlog: deque[bytes] = deque()
        self._in_flight = 0
        self._retry_task: asyncio.Task[None] | None = None

    @property
    def backlog(self) -> int:
        """The number of facts not yet confirmed by Redis."""
        return len(self._backlog) + self._in_flight

    @property
    def is_up(self) -> bool:
        """True if Redis can be reached now."""
        return self._connection.is_up

    async def start(self) -> None:
        """Connect in the background."""
        await self._connection.start()
        self._retry_task = asyncio.create_task(self._retry_backlog(), name="facts-retry")

    async def stop(self, timeout_s: float = 5.0) -> None:
        """Write the backlog within ``timeout_s`` and close. Logs an error if facts remain."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        while self.backlog and loop.time() < deadline:
            await asyncio.sleep(0.02)
        if self.backlog:
            logger.error("%d facts may be lost: Redis has not confirmed them", self.backlog)
        if self._retry_task:
            self._retry_task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._retry_task
        await self._connection.stop()

    async def put(self, fact: Fact) -> None:
        """Write a fact and wait for the confirmation.

        Raises RedisUnavailable, in which case the fact does not enter the backlog.
        """
        await self._connection.call(*self._command(codec.encode(fact)))

    def add(self, fact: Fact) -> None:
        """Write a fact in the background."""
        self._send(codec.encode(fact))

    def call(self, *command: str | bytes | int | float) -> asyncio.Future[Any]:
        """Send any other command on this connection. Raises RedisUnavailable."""
        return self._connection.call(*command)

    @staticmethod
    def _command(data: bytes) -> tuple[str | bytes, ...]:
        return ("XADD", names.FACTS_STREAM, "*", names.FACTS_FIELD, data)

    def _send(self, data: bytes) -> None:
        if self._backlog and not self._connection.is_up:
            self._enqueue(data)
            return
        try:
            reply = self._connection.call(*self._command(data))
        except RedisUnavailable:
            self._enqueue(data)
            return
        self._in_flight += 1

        def confirm(reply: asyncio.Future[Any]) -> None:
            self._in_flight -= 1
            if reply.cancelled() or reply.exception() is not None:
                self._enqueue(data)

        reply.add_done_callback(confirm)

    def _enqueue(self, data: bytes) -> None:
        if len(self._backlog) >= MAX_BACKLOG:
            self._backlog.popleft()
            logger.error("the facts backlog is full (%d): the oldest fact is lost", MAX_BACKLOG)
        self._backlog.append(data)

    async def _retry_backlog(self) -> None:
        while True:
            await asyncio.sleep(RETRY_INTERVAL_S)
            for _ in range(len(self._backlog) if self._connection.is_up else 0):
                self._send(self._backlog.popleft())
