"""A semaphore for each tenant, so that the large requests of one don't delay those of another."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


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
