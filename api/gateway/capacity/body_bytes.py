"""Bytes of bodies in memory, shared fairly among tenants."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from api.gateway.capacity.fair_share import FairShare


class BodyBytes:
    """The bytes of bodies in memory, shared fairly among tenants, with a reserve for the largest body.

    ``released_total``: bytes of all bodies that were freed since the start.
    """

    def __init__(self, limit: int, tenant_share: float, largest_body: int) -> None:
        self._share = FairShare(limit, tenant_share, largest_body)
        self.released_total = 0

    @property
    def in_use(self) -> int:
        """The number of bytes in memory."""
        return self._share.total_use

    def check(self, tenant_id: str, size: int) -> None:
        """Raise Overloaded if the tenant can't get this many bytes now."""
        self._share.check(tenant_id, size)

    @contextmanager
    def account(self, tenant_id: str) -> Iterator[Callable[[int], None]]:
        """Yield a function that adds bytes to one body's account. It raises Overloaded if none are left."""
        size = 0

        def add_bytes(amount: int) -> None:
            nonlocal size
            self._share.acquire(tenant_id, amount)
            size += amount

        try:
            yield add_bytes
        finally:
            self._release(tenant_id, size)

    @contextmanager
    def hold(self, tenant_id: str, size: int) -> Iterator[None]:
        """Account for a body of known size. Raises Overloaded if too few bytes are left."""
        self._share.acquire(tenant_id, size)
        try:
            yield
        finally:
            self._release(tenant_id, size)

    def _release(self, tenant_id: str, size: int) -> None:
        self._share.release(tenant_id, size)
        self.released_total += size
