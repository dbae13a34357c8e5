"""Work that a gateway process repeats in the background for as long as it lives."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable

logger = logging.getLogger("cyllm.gateway")


class PeriodicTask:
    """Calls ``turn`` again and again, ``pause_s`` apart. A turn that fails is logged and not the last."""

    def __init__(self, name: str, turn: Callable[[], Awaitable[None]], pause_s: float) -> None:
        self._name, self._turn, self._pause_s = name, turn, pause_s
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin, with a turn at once."""
        self._task = asyncio.create_task(self._repeat(), name=self._name)

    async def stop(self) -> None:
        """End, also in the middle of a turn, and wait for that."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _repeat(self) -> None:
        while True:
            try:
                await self._turn()
            except Exception:
                logger.exception("%s failed; it is tried again", self._name)
            await asyncio.sleep(self._pause_s)
