"""Postgres access outside the event loop: a few threads, one timeout, one error."""

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
    """A pool of threads with one connection each; the next call replaces a broken one."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="database")

    async def call(self, function: Callable[..., T], *args: object, timeout_s: float | None = None) -> T:
        """Return ``function(*args)``, called in a thread. Raises DatabaseUnavailable.

        After an error, a write may have committed nonetheless.
        """
        call_in_thread = DatabaseSyncToAsync(function, thread_sensitive=False, executor=self._threads)
        try:
            async with asyncio.timeout(timeout_s or self._timeout_s):
                result: T = await call_in_thread(*args)
                return result
        except (OperationalError, InterfaceError, TimeoutError) as error:
            # The driver's text can contain host and user names.
            logger.warning("database call failed: %s", type(error).__name__)
            raise DatabaseUnavailable() from None

    async def close(self) -> None:
        """Close the connections and end the threads; wait at most a second for a call that hangs."""
        # Each thread must run exactly one of these to close its own connection.
        barrier = threading.Barrier(THREADS)

        def close_own() -> None:
            connections.close_all()
            with contextlib.suppress(threading.BrokenBarrierError):
                barrier.wait(CLOSE_TIMEOUT_S)

        closures = [asyncio.wrap_future(self._threads.submit(close_own)) for _ in range(THREADS)]
        await asyncio.wait(closures, timeout=CLOSE_TIMEOUT_S)
        self._threads.shutdown(wait=False)


def ping() -> None:
    """Run the cheapest query, for health checks."""
    with connections["default"].cursor() as cursor:
        cursor.execute("SELECT 1")
