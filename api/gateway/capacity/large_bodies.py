"""Large bodies: a tenant receives few at a time, and their work takes a bounded share of the process.

Requests with small bodies never wait here, and a slow client doesn't hold a slot.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import ParamSpec, TypeVar

from api.gateway.capacity.pace import Pace
from api.gateway.capacity.tenant_semaphore import TenantSemaphore

P = ParamSpec("P")
T = TypeVar("T")

CONCURRENT_BODIES = 4  # of one tenant, from the bytes that make them large until they are decoded
# A second thread would only compete with the event loop for the interpreter.
_thread = ThreadPoolExecutor(1, thread_name_prefix="large-bodies")


class LargeBodies:
    """The large bodies of a gateway process."""

    def __init__(self) -> None:
        self.pace = Pace()
        self._slots = TenantSemaphore(CONCURRENT_BODIES)
        self._steps = TenantSemaphore()

    @asynccontextmanager
    async def slot(self, tenant_id: str) -> AsyncIterator[LargeBodySlot]:
        """Yield a slot, not yet occupied, and release it at the end."""
        slot = LargeBodySlot(self._slots, tenant_id)
        try:
            yield slot
        finally:
            await slot.release()

    async def run(self, tenant_id: str, function: Callable[[], T]) -> T:
        """Return ``function()``, called in a thread: one of each tenant at a time, in order of arrival."""
        async with self._steps.acquire(tenant_id):
            await self.pace.wait(tenant_id)
            call = self.charged(tenant_id, function)
            return await asyncio.get_running_loop().run_in_executor(_thread, call)

    def charged(self, tenant_id: str, function: Callable[P, T]) -> Callable[P, T]:
        """Return a function for a thread that charges its processor time to the tenant."""
        loop = asyncio.get_running_loop()

        def call(*args: P.args, **options: P.kwargs) -> T:
            started_at = time.thread_time()
            try:
                return function(*args, **options)
            finally:
                work_s = time.thread_time() - started_at
                with suppress(RuntimeError):  # the process stops, and its loop is closed
                    loop.call_soon_threadsafe(self.pace.charge, tenant_id, work_s)

        return call


class LargeBodySlot:
    """One of a tenant's slots for large bodies, which a body may release and acquire again."""

    def __init__(self, slots: TenantSemaphore, tenant_id: str) -> None:
        self._slots, self._tenant_id = slots, tenant_id
        self._stack = AsyncExitStack()
        self.is_occupied = False

    async def acquire(self) -> None:
        """Wait in line for a slot. Does nothing if the body has one."""
        if not self.is_occupied:
            await self._stack.enter_async_context(self._slots.acquire(self._tenant_id))
            self.is_occupied = True

    async def release(self) -> None:
        """Release the slot to the next body. Does nothing if the body has none."""
        self.is_occupied = False
        await self._stack.aclose()
