"""A cache whose entries are never older than a limit, and which a push empties sooner."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")

MOST_READS = 3


class FreshCache(Generic[K, V]):
    """Reads through ``load``; concurrent readers of one key share a read. None is a value like others."""

    def __init__(self, load: Callable[[K], Awaitable[V]], max_age_s: float, size: int = 10_000) -> None:
        self._load = load
        self._max_age_s = max_age_s
        self._size = size
        self._generation = 0
        self._entries: OrderedDict[K, tuple[V, float]] = OrderedDict()
        self._reads: dict[K, asyncio.Task[V]] = {}

    async def get(self, key: K) -> V:
        """The value, at most ``max_age_s`` old. Raises what ``load`` raises; faults are not kept."""
        entry = self._entries.get(key)
        if entry is not None and entry[1] > time.monotonic():
            self._entries.move_to_end(key)
            return entry[0]
        read = self._reads.get(key)
        if read is None:
            read = self._reads[key] = asyncio.create_task(self._read(key))
            read.add_done_callback(lambda done: self._read_ended(key, done))
        # A reader that goes away must not take the value from the others.
        return await asyncio.shield(read)

    def forget(self, key: K) -> None:
        """Drop one entry: it has changed."""
        self._generation += 1
        self._entries.pop(key, None)

    def clear(self) -> None:
        """Drop all entries: any of them may have changed."""
        self._generation += 1
        self._entries.clear()

    async def _read(self, key: K) -> V:
        """A value read while a change was announced may be the old one: it is read again, never kept."""
        for _ in range(MOST_READS):
            generation, asked_at = self._generation, time.monotonic()
            value = await self._load(key)
            if generation == self._generation:
                self._keep(key, value, asked_at + self._max_age_s)
                break
        return value

    def _keep(self, key: K, value: V, until: float) -> None:
        self._entries[key] = (value, until)
        self._entries.move_to_end(key)
        while len(self._entries) > self._size:
            self._entries.popitem(last=False)

    def _read_ended(self, key: K, read: asyncio.Task[V]) -> None:
        del self._reads[key]
        if not read.cancelled():
            read.exception()
