"""In-process caches of API keys and served models: bounded in age, and invalidated sooner by push."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Generic, TypeVar

from api.gateway.periodic import PeriodicTask
from api.gateway.stages.models.catalogue import Catalogue
from api.gateway.state.database import Database
from api.openai.errors.base import ApiError
from inference_worker.registry import selectors as registry
from tenants.keys.selectors import KeyPrincipal, key_principal, key_principals

K = TypeVar("K")
V = TypeVar("V")

MAX_READS = 3
WARM_S = 30.0
MAX_WARM_KEYS = 1000


class GatewayCaches:
    """The caches of a gateway process: principals by key prefix, and the catalogue under None.

    ``warmers`` refresh the entries in use. Reading raises DatabaseUnavailable.
    """

    def __init__(self, database: Database, max_age_s: float) -> None:
        self._database = database
        self.principals: FreshCache[str, KeyPrincipal | None] = FreshCache(self._read_principal, max_age_s)
        self.catalogue: FreshCache[None, Catalogue] = FreshCache(self._read_catalogue, max_age_s)
        self.warmers = (
            PeriodicTask(
                "keys-warm", partial(self.principals.warm, self._read_principals), self.principals.warming_s
            ),
            PeriodicTask(
                "models-warm", partial(self.catalogue.warm, self._read_catalogues), self.catalogue.warming_s
            ),
        )

    async def read_catalogue(self) -> Catalogue:
        """Return all enabled models."""
        return await self.catalogue.get(None)

    def clear(self) -> None:
        """Drop every entry: any of them may have changed."""
        self.principals.clear()
        self.catalogue.clear()

    async def _read_principal(self, prefix: str) -> KeyPrincipal | None:
        return await self._database.call(key_principal, prefix)

    async def _read_principals(self, prefixes: Sequence[str]) -> Mapping[str, KeyPrincipal | None]:
        principals = await self._database.call(key_principals, prefixes)
        return {prefix: principals.get(prefix) for prefix in prefixes}

    async def _read_catalogue(self, _: None) -> Catalogue:
        return Catalogue.from_entries(await self._database.call(registry.catalogue))

    async def _read_catalogues(self, _: Sequence[None]) -> Mapping[None, Catalogue]:
        return {None: await self._read_catalogue(None)}


class FreshCache(Generic[K, V]):
    """A read-through cache with a maximum age. Concurrent readers of a key share one read."""

    def __init__(self, load: Callable[[K], Awaitable[V]], max_age_s: float, size: int = 10_000) -> None:
        self._load = load
        self._max_age_s = max_age_s
        self._size = size
        self._generation = 0
        self._entries: OrderedDict[K, tuple[V, float]] = OrderedDict()
        self._reads: dict[K, asyncio.Task[V]] = {}
        self._used_at: dict[K, float] = {}

    async def get(self, key: K) -> V:
        """Return the value, at most ``max_age_s`` old. Errors of ``load`` propagate and are not cached."""
        entry, now = self._entries.get(key), time.monotonic()
        if entry is not None and entry[1] > now:
            self._entries.move_to_end(key)
            if entry[0] is not None:
                self._used_at[key] = now
            return entry[0]
        read = self._reads.get(key)
        if read is None:
            read = self._reads[key] = asyncio.create_task(self._read(key))
            read.add_done_callback(lambda task: self._end_read(key, task))
        # Shielded: a client that disconnects must not cancel the read for the others.
        return await asyncio.shield(read)

    def invalidate(self, key: K) -> None:
        """Drop one entry: it has changed."""
        self._generation += 1
        self._entries.pop(key, None)

    def clear(self) -> None:
        """Drop every entry: any of them may have changed."""
        self._generation += 1
        self._entries.clear()

    @property
    def warming_s(self) -> float:
        """The interval at which ``warm`` keeps the entries in use fresh."""
        return self._max_age_s / 2

    async def warm(self, load_many: Callable[[Sequence[K]], Awaitable[Mapping[K, V]]]) -> None:
        """Refresh the recently used entries in one read, before they are too old.

        Keys in steady use then never wait for a read. After an error, entries age as usual.
        """
        keys = self._recently_used_keys()
        if not keys:
            return
        generation, started_at = self._generation, time.monotonic()
        try:
            values = await load_many(keys)
        except ApiError:
            return
        if generation == self._generation:
            for key, value in values.items():
                self._store(key, value, started_at + self._max_age_s)

    def _recently_used_keys(self) -> list[K]:
        since = time.monotonic() - WARM_S
        uses = [(at, key) for key, at in self._used_at.items() if at > since]
        uses.sort(key=lambda use: use[0])
        self._used_at = {key: at for at, key in uses[-MAX_WARM_KEYS:]}
        return list(self._used_at)

    async def _read(self, key: K) -> V:
        """Read a value; read again if it is invalidated meanwhile, and never cache an invalidated value."""
        for _ in range(MAX_READS):
            generation, started_at = self._generation, time.monotonic()
            value = await self._load(key)
            if generation == self._generation:
                self._store(key, value, started_at + self._max_age_s)
                break
        return value

    def _store(self, key: K, value: V, expires_at: float) -> None:
        self._entries[key] = (value, expires_at)
        self._entries.move_to_end(key)
        while len(self._entries) > self._size:
            self._entries.popitem(last=False)

    def _end_read(self, key: K, read: asyncio.Task[V]) -> None:
        del self._reads[key]
        if not read.cancelled():
            read.exception()  # retrieve it, or asyncio logs that nobody did
