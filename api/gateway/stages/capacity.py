"""What a process has for all tenants, and how it is shared: places for requests, bytes for bodies."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

from api.openai.errors.service import Overloaded


class RequestSlots:
    """The requests that this process carries at once."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.taken = 0

    @contextmanager
    def take(self) -> Iterator[None]:
        """Hold a place; given back however the request ends. Raises ApiError when all are taken."""
        if self.taken >= self._limit:
            raise Overloaded()
        self.taken += 1
        try:
            yield
        finally:
            self.taken -= 1


class TenantSlots:
    """The bodies that are being read, counted by tenant: one can't take all memory, nor all places."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._places: dict[str, RequestSlots] = {}

    @contextmanager
    def take(self, tenant_id: str) -> Iterator[None]:
        """Hold one of the tenant's places. Raises ApiError when the tenant has taken all of its own."""
        places = self._places.setdefault(tenant_id, RequestSlots(self._limit))
        try:
            with places.take():
                yield
        finally:
            if places.taken == 0:
                self._places.pop(tenant_id, None)


class FairShare:
    """Something of which a process has so much, and no tenant can have all.

    A tenant gets more only while it holds less than a multiple of what is free, so there is always some for
    another (Choudhury and Hahne, "Dynamic queue length thresholds", 1998). Alone it comes to ``tenant_share``
    of all; several come to equal parts, as fast as requests end. ``room`` is what is left for a newcomer.
    """

    def __init__(self, limit: int, tenant_share: float, room: int = 1) -> None:
        self._limit, self._room = limit, room
        self._multiple = tenant_share / (1 - tenant_share)
        self._held: Counter[str] = Counter()
        self.taken = 0

    def take(self, tenant_id: str, size: int = 1) -> None:
        """Take so much for a tenant. Raises ApiError when it can't have it."""
        held, free = self._held[tenant_id], self._limit - self.taken
        if size > free or (held and (free - size < self._room or held >= self._multiple * free)):
            raise Overloaded()
        self._held[tenant_id] += size
        self.taken += size

    def give_back(self, tenant_id: str, size: int = 1) -> None:
        """Give back so much of what the tenant has."""
        self.taken -= size
        self._held[tenant_id] -= size
        if not self._held[tenant_id]:
            del self._held[tenant_id]


class SharedSlots:
    """The requests that a process carries at once, shared by tenants."""

    def __init__(self, limit: int, tenant_share: float) -> None:
        self._shares = FairShare(limit, tenant_share)

    @property
    def taken(self) -> int:
        """How many are taken."""
        return self._shares.taken

    @contextmanager
    def take(self, tenant_id: str) -> Iterator[None]:
        """Hold a place; given back however the request ends. Raises ApiError when there is none."""
        self._shares.take(tenant_id)
        try:
            yield
        finally:
            self._shares.give_back(tenant_id)


class BodyBudget:
    """The bytes of bodies that a process holds at once, shared by tenants, with room for the largest."""

    def __init__(self, limit: int, tenant_share: float, largest: int) -> None:
        self._shares = FairShare(limit, tenant_share, largest)

    @property
    def taken(self) -> int:
        """How many are held."""
        return self._shares.taken

    @contextmanager
    def account(self, tenant_id: str) -> Iterator[Callable[[int], None]]:
        """What it yields is told of each piece of one body, and raises ApiError where it has no room."""
        size = 0

        def more(piece: int) -> None:
            nonlocal size
            self._shares.take(tenant_id, piece)
            size += piece

        try:
            yield more
        finally:
            self._shares.give_back(tenant_id, size)


class TenantSemaphore:
    """Lets each tenant do so many things at once; what it asks for meanwhile waits, in its order."""

    def __init__(self, at_once: int = 1) -> None:
        self._at_once = at_once
        self._turns: dict[str, asyncio.Semaphore] = {}
        self._asked: Counter[str] = Counter()

    @asynccontextmanager
    async def take(self, tenant_id: str) -> AsyncIterator[None]:
        """Wait for the tenant's turn and hold it."""
        self._asked[tenant_id] += 1
        try:
            async with self._turns.setdefault(tenant_id, asyncio.Semaphore(self._at_once)):
                yield
        finally:
            self._asked[tenant_id] -= 1
            if not self._asked[tenant_id]:
                del self._asked[tenant_id], self._turns[tenant_id]
