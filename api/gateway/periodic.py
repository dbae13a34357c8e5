"""Background work that a gateway process repeats while it runs."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable

logger = logging.getLogger("cyllm.gateway")


class PeriodicTask:
    """Calls ``work`` repeatedly, ``pause_s`` apart. A failure is logged and does not stop the task."""

    def __init__(self, name: str, work: Callable[[], Awaitable[None]], pause_s: float) -> None:
        self._name, self._work, self._pause_s = name, work, pause_s
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start, with a first call at once."""
        self._task = asyncio.create_task(self._repeat(), name=self._name)

    async def stop(self) -> None:
        """Cancel the task, even in the middle of a call, and wait for its end."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _repeat(self) -> None:
        while True:
            try:
                await self._work()
            except Exception:
                logger.exception("%s failed; it will be retried", self._name)
            await asyncio.sleep(self._pause_s)
