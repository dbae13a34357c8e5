"""Slots for requests and readers: shared fairly among tenants, for the process, or for each tenant."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from api.gateway.capacity.fair_share import FairShare
from api.openai.errors.service import Overloaded


class SharedSlots:
    """Slots of a process, shared fairly among tenants."""

    def __init__(self, limit: int, tenant_share: float) -> None:
        self._share = FairShare(limit, tenant_share)
        self._largest_weight = max(1, int(limit * tenant_share))

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

    @contextmanager
    def weigh(self, tenant_id: str, weight: int) -> Iterator[None]:
        """Let a request that occupies a slot count as ``weight`` slots. Raises Overloaded.

        It counts as a tenant's largest share at most. The only request of a tenant is never refused for its
        weight: it counts as what is free, except for one slot.
        """
        extra = min(weight, self._largest_weight) - 1
        if self._share.use_of(tenant_id) <= 1:
            extra = min(extra, self._share.free - 1)
        if extra <= 0:
            yield
            return
        self._share.acquire(tenant_id, extra)
        try:
            yield
        finally:
            self._share.release(tenant_id, extra)

    def use_of(self, tenant_id: str) -> int:
        """Return the number of slots that the tenant's requests count as."""
        return self._share.use_of(tenant_id)


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
