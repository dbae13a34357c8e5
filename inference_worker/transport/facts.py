"""The writer of the durable facts stream, which holds each fact until the ledger has stored it.

A fact leaves the stream once it is in the database, so a fact older than the oldest entry of the stream is
stored. Redis can lose its last second of writes when it dies, and then its connections break: every fact
that was not known to be stored is therefore written again after each reconnection, and when Redis's data
have another incarnation.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from typing import Any, TypeAlias

from inference_worker.protocol import codec, names
from inference_worker.protocol.messages import Fact
from inference_worker.transport.address import Address
from inference_worker.transport.incarnation import INCARNATION_KEY, INCARNATION_SCRIPT
from inference_worker.transport.redis_connection import RedisConnection, RedisUnavailableError

logger = logging.getLogger("cyllm.facts")

MAX_BACKLOG = 200_000
MAX_UNSTORED = 100_000  # of some 500 bytes each
RETRY_INTERVAL_S = 0.2

EntryId: TypeAlias = tuple[int, int]


class FactWriter:
    """Appends facts in the background.

    Every fact is stored at least once, provided that the process lives and there is room for the facts that
    are not stored yet. A broken connection causes duplicates, which the ledger ignores.
    """

    def __init__(self, url: str) -> None:
        self._connection = RedisConnection(Address.from_url(url), on_down=self._requeue_unstored)
        self._backlog: deque[bytes] = deque()
        self._unstored_facts: deque[tuple[EntryId, bytes]] = deque()
        self._connection_number = 0
        self._incarnation: bytes | None = None
        self._in_flight = 0
        self._is_overfull = False
        self._retry_task: asyncio.Task[None] | None = None

    @property
    def backlog(self) -> int:
        """The number of facts not yet confirmed by Redis."""
        return len(self._backlog) + self._in_flight

    @property
    def unstored_count(self) -> int:
        """The number of facts that are in Redis but not known to be stored in the database."""
        return len(self._unstored_facts)

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

        Raises RedisUnavailableError, in which case the fact does not enter the backlog.
        """
        data, number = codec.encode(fact), self._connection_number
        self._remember(await self._connection.call(*self._command(data)), data, number)

    def add(self, fact: Fact) -> None:
        """Write a fact in the background."""
        self._send(codec.encode(fact))

    @staticmethod
    def _command(data: bytes) -> tuple[str | bytes, ...]:
        return ("XADD", names.FACTS_STREAM, "*", names.FACTS_FIELD, data)

    def _send(self, data: bytes) -> None:
        if self._backlog and not self._connection.is_up:
            self._enqueue(data)
            return
        try:
            reply = self._connection.call(*self._command(data))
        except RedisUnavailableError:
            self._enqueue(data)
            return
        self._in_flight += 1
        number = self._connection_number

        def confirm(reply: asyncio.Future[Any]) -> None:
            self._in_flight -= 1
            if reply.cancelled() or reply.exception() is not None:
                self._enqueue(data)
            else:
                self._remember(reply.result(), data, number)

        reply.add_done_callback(confirm)

    def _remember(self, entry_id: bytes, data: bytes, number: int) -> None:
        """Keep a written fact. If its connection has broken since, write it again."""
        if number != self._connection_number:
            self._enqueue(data)
            return
        if len(self._unstored_facts) >= MAX_UNSTORED:
            if not self._is_overfull:
                logger.error(
                    "%d facts wait for the ledger: the oldest now depend on Redis alone", MAX_UNSTORED
                )
            self._is_overfull = True
            self._unstored_facts.popleft()
        self._unstored_facts.append((_parsed_id(entry_id), data))

    def _requeue_unstored(self) -> None:
        """Queue the facts that a restarted Redis may have lost."""
        self._connection_number += 1
        self._incarnation = None
        facts, self._unstored_facts = self._unstored_facts, deque()
        for _, data in facts:
            self._enqueue(data)

    async def _release_stored(self) -> None:
        """Drop the facts that have left the stream: those older than its oldest entry."""
        if not self._connection.is_up or (self._incarnation is not None and not self._unstored_facts):
            return
        number, newest = (
            self._connection_number,
            self._unstored_facts[-1][0] if self._unstored_facts else (0, 0),
        )
        try:
            reply = self._connection.call("XRANGE", names.FACTS_STREAM, "-", "+", "COUNT", "1")
            # Read afterwards: if it is still the same, the stream was not deleted before it was read.
            incarnation = self._connection.call("EVAL", INCARNATION_SCRIPT, 1, INCARNATION_KEY)
            entries = await reply
            self._notice(bytes((await incarnation)[0]))
        except RedisUnavailableError:
            return
        if number != self._connection_number:
            return
        limit = _parsed_id(entries[0][0]) if entries else (newest[0], newest[1] + 1)
        while self._unstored_facts and self._unstored_facts[0][0] < limit:
            self._unstored_facts.popleft()
        self._is_overfull = self._is_overfull and len(self._unstored_facts) >= MAX_UNSTORED

    def _notice(self, incarnation: bytes) -> None:
        """Queue the unstored facts again if Redis's data have been deleted."""
        if self._incarnation is not None and incarnation != self._incarnation:
            logger.warning("Redis has lost its data: %d facts are written again", len(self._unstored_facts))
            self._requeue_unstored()
        self._incarnation = incarnation

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
            await self._release_stored()


def _parsed_id(entry_id: bytes) -> EntryId:
    """Return an entry id as numbers, which sort like the entries."""
    milliseconds, _, number = entry_id.partition(b"-")
    return int(milliseconds), int(number)
