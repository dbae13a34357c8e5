"""Capacity of a gateway process, shared fairly among tenants: request slots, body bytes, tokenizer turns."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field

from api.gateway.settings import Limits
from api.gateway.stages.fair_share import FairShare
from api.openai.errors.service import Overloaded


class SharedSlots:
    """Slots of a process, shared fairly among tenants."""

    def __init__(self, limit: int, tenant_share: float) -> None:
        self._share = FairShare(limit, tenant_share)

    @property
    def in_use(self) -> int:
        """The number of occupied slots."""
        return self._share.total_use

    @contextmanager
    def slot(self, tenant_id: str) -> Iterator[None]:
        """Occupy a slot. Raises Overloaded if none is available to the tenant."""
        self._share.acquire(tenant_id)
        try:
            yield
        finally:
            self._share.release(tenant_id)


class Slots:
    """A fixed number of slots."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.in_use = 0

    @contextmanager
    def slot(self) -> Iterator[None]:
        """Occupy a slot. Raises Overloaded if all are occupied."""
        if self.in_use >= self._limit:
            raise Overloaded()
        self.in_use += 1
        try:
            yield
        finally:
            self.in_use -= 1


class TenantSlots:
    """A fixed number of slots for each tenant."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._slots: dict[str, Slots] = {}

    @contextmanager
    def slot(self, tenant_id: str) -> Iterator[None]:
        """Occupy one of the tenant's slots. Raises Overloaded if all are occupied."""
        slots = self._slots.setdefault(tenant_id, Slots(self._limit))
        try:
            with slots.slot():
                yield
        finally:
            if slots.in_use == 0:
                self._slots.pop(tenant_id, None)


class BodyBudget:
    """The bytes of bodies in memory, shared fairly among tenants, with a reserve for the largest body."""

    def __init__(self, limit: int, tenant_share: float, largest_body: int) -> None:
        self._share = FairShare(limit, tenant_share, largest_body)

    @property
    def in_use(self) -> int:
        """The number of bytes in memory."""
        return self._share.total_use

    @contextmanager
    def account(self, tenant_id: str) -> Iterator[Callable[[int], None]]:
        """Yield a function that adds bytes to one body's account. It raises Overloaded if none are left."""
        size = 0

        def grow(amount: int) -> None:
            nonlocal size
            self._share.acquire(tenant_id, amount)
            size += amount

        try:
            yield grow
        finally:
            self._share.release(tenant_id, size)


class TenantSemaphore:
    """A semaphore for each tenant: further work of the same tenant waits in order of arrival."""

    def __init__(self, concurrency: int = 1) -> None:
        self._concurrency = concurrency
        self._semaphores: dict[str, asyncio.Semaphore] = {}
        self._users: Counter[str] = Counter()

    @asynccontextmanager
    async def acquire(self, tenant_id: str) -> AsyncIterator[None]:
        """Wait for the tenant's turn and hold it."""
        self._users[tenant_id] += 1
        try:
            async with self._semaphores.setdefault(tenant_id, asyncio.Semaphore(self._concurrency)):
                yield
        finally:
            self._users[tenant_id] -= 1
            if not self._users[tenant_id]:
                del self._users[tenant_id], self._semaphores[tenant_id]


@dataclass(frozen=True, slots=True)
class Capacity:
    """All bounded resources of a gateway process.

    ``requests``: requests being served. ``body_reads``: bodies being received. ``bodies``: bytes of bodies,
    and of events that slow readers have not received yet. ``log_readers``: readers of event logs.
    ``tokenizer``: at most one large text of each tenant at a tokenizer.
    """

    requests: SharedSlots
    body_reads: TenantSlots
    bodies: BodyBudget
    log_readers: SharedSlots
    tokenizer: TenantSemaphore = field(default_factory=TenantSemaphore)

    @contextmanager
    def receiving(self, tenant_id: str, resources: ExitStack) -> Iterator[Callable[[int], None]]:
        """Yield the account of a body while it is received, then occupy a request slot.

        ``resources`` holds both. A body that never arrives occupies no slot. Raises Overloaded.
        """
        with self.body_reads.slot(tenant_id):
            yield resources.enter_context(self.bodies.account(tenant_id))
        resources.enter_context(self.requests.slot(tenant_id))

    @classmethod
    def from_limits(cls, limits: Limits) -> Capacity:
        """Return the capacity that the settings allow; at least two of the largest bodies fit."""
        requests, share = limits.gateway_max_requests, limits.gateway_tenant_share
        largest_body = limits.max_body_bytes
        body_bytes = max(limits.gateway_body_bytes, 2 * largest_body)
        return cls(
            requests=SharedSlots(requests, share),
            body_reads=TenantSlots(requests),
            bodies=BodyBudget(body_bytes, share, largest_body),
            log_readers=SharedSlots(requests, share),
        )
