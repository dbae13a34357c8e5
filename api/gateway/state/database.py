"""Reads and writes of Postgres off the event loop, in few threads, with one error for all its troubles."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from channels.db import DatabaseSyncToAsync
from django.db import InterfaceError, OperationalError, connections

from api.openai.errors.service import DatabaseUnavailable

logger = logging.getLogger("cyllm.gateway.database")
T = TypeVar("T")
THREADS = 4
CLOSE_TIMEOUT_S = 1.0


class Database:
    """Each thread keeps one connection; a broken one is replaced by the next read."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="database")

    async def read(self, function: Callable[..., T], *args: object, timeout_s: float | None = None) -> T:
        """The result of ``function(*args)``. Raises ApiError ``database_unavailable``."""
        call = DatabaseSyncToAsync(function, thread_sensitive=False, executor=self._threads)
        try:
            async with asyncio.timeout(timeout_s or self._timeout_s):
                result: T = await call(*args)
                return result
        except (OperationalError, InterfaceError, TimeoutError) as error:
            # The driver's text can hold host and user names; its kind is enough here.
            logger.warning("database call failed: %s", type(error).__name__)
            raise DatabaseUnavailable() from None

    async def write(self, function: Callable[..., T], *args: object) -> T:
        """As ``read``; after an error the write may have taken place all the same."""
        return await self.read(function, *args)

    async def close(self) -> None:
        """End the threads and their connections; waits no longer than a second for a read that hangs."""
        # Each thread has its own connection, so each must take exactly one of these.
        met = threading.Barrier(THREADS)

        def close_own() -> None:
            connections.close_all()
            with contextlib.suppress(threading.BrokenBarrierError):
                met.wait(CLOSE_TIMEOUT_S)

        closing = [asyncio.wrap_future(self._threads.submit(close_own)) for _ in range(THREADS)]
        await asyncio.wait(closing, timeout=CLOSE_TIMEOUT_S)
        self._threads.shutdown(wait=False)


def answers() -> None:
    """The cheapest query there is, for health checks."""
    with connections["default"].cursor() as cursor:
        cursor.execute("SELECT 1")
