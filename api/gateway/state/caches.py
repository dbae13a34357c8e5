"""In-process caches of API keys and served models: bounded in age, invalidated by push."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Generic, TypeVar

from api.gateway.periodic import PeriodicTask
from api.gateway.stages import catalogue
from api.gateway.stages.catalogue import Catalogue
from api.gateway.state.database import Database
from api.openai.errors.base import ApiError
from inference_worker.registry import selectors as registry
from tenants.selectors import KeyPrincipal, key_principal, key_principals


class GatewayCaches:
    """``keys`` by prefix, all ``models`` under None, at most ``max_age_s`` old; ``warmings`` keep them so.

    Reading raises ApiError ``database_unavailable``.
    """

    def __init__(self, database: Database, max_age_s: float) -> None:
        self._database = database
        self.keys: FreshCache[str, KeyPrincipal | None] = FreshCache(self._key, max_age_s)
        self.models: FreshCache[None, Catalogue] = FreshCache(self._models, max_age_s)
        self.warmings = (
            PeriodicTask("keys-warm", partial(self.keys.warm, self._many_keys), self.keys.warming_s),
            PeriodicTask("models-warm", partial(self.models.warm, self._models_again), self.models.warming_s),
        )

    async def catalogue(self) -> Catalogue:
        """All models."""
        return await self.models.get(None)

    def forget_all(self) -> None:
        """Something has changed, and what is not known."""
        self.keys.clear()
        self.models.clear()

    async def _key(self, prefix: str) -> KeyPrincipal | None:
        return await self._database.read(key_principal, prefix)

    async def _many_keys(self, prefixes: Sequence[str]) -> Mapping[str, KeyPrincipal | None]:
        found = await self._database.read(key_principals, prefixes)
        return {prefix: found.get(prefix) for prefix in prefixes}

    async def _models(self, _: None) -> Catalogue:
        return catalogue.build(await self._database.read(registry.catalogue))

    async def _models_again(self, _: Sequence[None]) -> Mapping[None, Catalogue]:
        return {None: await self._models(None)}


K = TypeVar("K")
V = TypeVar("V")

MOST_READS = 3
WARM_S = 30.0
MOST_WARM = 1000


class FreshCache(Generic[K, V]):
    """Reads through ``load``; concurrent readers of one key share a read. None is a value like others."""

    def __init__(self, load: Callable[[K], Awaitable[V]], max_age_s: float, size: int = 10_000) -> None:
        self._load = load
        self._max_age_s = max_age_s
        self._size = size
        self._generation = 0
        self._entries: OrderedDict[K, tuple[V, float]] = OrderedDict()
        self._reads: dict[K, asyncio.Task[V]] = {}
        self._used_at: dict[K, float] = {}

    async def get(self, key: K) -> V:
        """The value, at most ``max_age_s`` old. Raises what ``load`` raises; faults are not kept."""
        entry, now = self._entries.get(key), time.monotonic()
        if entry is not None and entry[1] > now:
            self._entries.move_to_end(key)
            if entry[0] is not None:
                self._used_at[key] = now
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

    @property
    def warming_s(self) -> float:
        """How often ``warm`` has to be called for nothing in use to age out."""
        return self._max_age_s / 2

    async def warm(self, load_many: Callable[[Sequence[K]], Awaitable[Mapping[K, V]]]) -> None:
        """Read again what was used lately, before it is too old and all in one read.

        So a request of a caller in steady use waits for no read. Entries are no older for it, and faults
        leave them to age.
        """
        keys = self._used_lately()
        if not keys:
            return
        generation, asked_at = self._generation, time.monotonic()
        try:
            values = await load_many(keys)
        except ApiError:
            return
        if generation == self._generation:
            for key, value in values.items():
                self._keep(key, value, asked_at + self._max_age_s)

    def _used_lately(self) -> list[K]:
        since = time.monotonic() - WARM_S
        lately = [(at, key) for key, at in self._used_at.items() if at > since]
        lately.sort(key=lambda use: use[0])
        self._used_at = {key: at for at, key in lately[-MOST_WARM:]}
        return list(self._used_at)

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
