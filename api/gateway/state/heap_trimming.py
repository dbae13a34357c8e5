"""Return of freed memory to the operating system after many bodies, which the C library would keep."""

from __future__ import annotations

import asyncio
import ctypes
import logging

from api.gateway.capacity.body_bytes import BodyBytes

logger = logging.getLogger("cyllm.gateway")

CHECK_INTERVAL_S = 10.0
MIN_RELEASED_BYTES = 32 * 1024 * 1024


class HeapTrimmer:
    """Trims the heap once many more bytes of bodies were released than are still in memory."""

    def __init__(self, bodies: BodyBytes) -> None:
        self._bodies = bodies
        self._trimmed_total = 0

    async def check(self) -> None:
        """Trim the heap if it is worth it. Call this periodically."""
        released_bytes = self._bodies.released_total - self._trimmed_total
        if released_bytes >= max(MIN_RELEASED_BYTES, 4 * self._bodies.in_use):
            self._trimmed_total += released_bytes
            if await asyncio.to_thread(trim_heap):
                logger.debug("returned freed memory to the operating system")


def trim_heap() -> bool:
    """Return unused pages of the heap. Only glibc can; returns whether it released any."""
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    return malloc_trim is not None and bool(malloc_trim(0))
