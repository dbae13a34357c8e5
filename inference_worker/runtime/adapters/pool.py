"""The adapters that the engine has loaded: added on demand, the least recently used removed for others."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from inference_worker.protocol.messages import AdapterRef
from inference_worker.runtime.adapters.errors import AdapterUnavailableError

logger = logging.getLogger("cyllm.worker.adapters")


class AdapterEngine(Protocol):
    """Loads adapters under a name."""

    async def load(self, ref: AdapterRef, name: str) -> None:
        """Load an adapter. Raises AdapterUnavailableError."""
        ...

    async def unload(self, name: str) -> None:
        """Unload an adapter that no request uses."""
        ...


@dataclass(eq=False)
class _PoolEntry:
    """An adapter from the start of its load. ``users``: requests that run with it or wait for it."""

    load: asyncio.Future[None]
    users: int = 0
    is_deleted: bool = False

    @property
    def is_ready(self) -> bool:
        """True once it has been loaded."""
        return self.load.done() and not self.load.cancelled() and self.load.exception() is None


def internal_name(sha256: str) -> str:
    """Return the engine's name of an adapter, which no model of the registry can have.

    Names with the same weights share it. vLLM keeps prefixes apart by it, and tenants by their salt.
    """
    return f"adapter@{sha256}"


class AdapterPool:
    """Loaded adapters by digest, at most ``capacity``. One that a request uses is never removed.

    All methods run in the event loop, so state changes only where they wait.
    """

    def __init__(self, engine: AdapterEngine, capacity: int) -> None:
        self._engine, self._capacity = engine, capacity
        self._entries: OrderedDict[str, _PoolEntry] = OrderedDict()
        self._unloads: dict[str, asyncio.Task[None]] = {}
        self._change = asyncio.Event()

    @property
    def digests(self) -> tuple[str, ...]:
        """The loaded adapters, the most recently used first."""
        return tuple(sha256 for sha256, entry in reversed(self._entries.items()) if entry.is_ready)

    @asynccontextmanager
    async def use(self, ref: AdapterRef, timeout_s: float) -> AsyncIterator[str]:
        """Return the name of the loaded adapter. Raises AdapterUnavailableError.

        ``timeout_s``: time to wait for it, and for another to be free if the pool is full of adapters in use.
        """
        try:
            async with asyncio.timeout(timeout_s):
                entry = await self._acquire(ref)
        except TimeoutError:
            raise AdapterUnavailableError(f"{ref.name}: not loaded within {timeout_s:.1f} s") from None
        try:
            yield internal_name(ref.sha256)
        finally:
            self._release(ref.sha256, entry)

    def remove(self, sha256: str) -> None:
        """Unload an adapter as soon as no request uses it."""
        if (entry := self._entries.get(sha256)) is not None:
            entry.is_deleted = True
            self._settle(sha256, entry)

    async def _acquire(self, ref: AdapterRef) -> _PoolEntry:
        """Return the entry of a loaded adapter, with one more user."""
        entry = await self._entry(ref)
        entry.users += 1
        try:
            # Shielded: a client that disconnects must not end the load for others.
            await asyncio.shield(entry.load)
        except BaseException:
            self._release(ref.sha256, entry)
            raise
        return entry

    def _release(self, sha256: str, entry: _PoolEntry) -> None:
        entry.users -= 1
        self._settle(sha256, entry)

    async def _entry(self, ref: AdapterRef) -> _PoolEntry:
        """Return the entry of a digest. A new one starts to load once there is room."""
        while (entry := self._entries.get(ref.sha256)) is None and not self._has_room(ref.sha256):
            await self._change.wait()
        if entry is None:
            load = self._engine.load(ref, internal_name(ref.sha256))
            entry = self._entries[ref.sha256] = _PoolEntry(asyncio.ensure_future(load))
            entry.load.add_done_callback(partial(self._end_load, ref.sha256, entry))
        self._entries.move_to_end(ref.sha256)
        return entry

    def _has_room(self, sha256: str) -> bool:
        """Return whether this digest can be loaded now. If not, start to unload the least recently used."""
        if sha256 in self._unloads:
            return False
        if len(self._entries) + len(self._unloads) < self._capacity:
            return True
        idle = (key for key, entry in self._entries.items() if entry.is_ready and not entry.users)
        if not self._unloads and (oldest := next(idle, None)) is not None:
            self._start_unload(oldest)
        return False

    def _start_unload(self, sha256: str) -> None:
        del self._entries[sha256]
        self._unloads[sha256] = asyncio.create_task(self._unload(sha256), name=f"unload-{sha256[:12]}")

    async def _unload(self, sha256: str) -> None:
        try:
            await self._engine.unload(internal_name(sha256))
        except Exception as error:
            logger.error("can't unload the adapter %s: %s", sha256, error)
        finally:
            del self._unloads[sha256]
            self._notify()

    def _end_load(self, sha256: str, entry: _PoolEntry, _: asyncio.Future[None]) -> None:
        if not entry.is_ready and self._entries.get(sha256) is entry:
            del self._entries[sha256]
        self._settle(sha256, entry)

    def _settle(self, sha256: str, entry: _PoolEntry) -> None:
        """Unload a deleted adapter without users, and wake the requests that wait for room."""
        if entry.users:
            return
        if entry.is_deleted and entry.is_ready and self._entries.get(sha256) is entry:
            self._start_unload(sha256)
        self._notify()

    def _notify(self) -> None:
        self._change.set()
        self._change = asyncio.Event()
