"""The time that a client takes to send its body. Pauses of the gateway don't count."""

from __future__ import annotations

import asyncio
import time

from api.gateway.capacity.large_bodies import LargeBodySlot
from api.gateway.http.disconnect import Disconnected, Message, Receive
from api.openai.errors.access import ClientTimeout

CLOSE = {"connection": "close"}
SLOT_WAIT_S = 0.5  # for a client whose body occupies a slot for large bodies


class ClientTime:
    """Receives messages from a client, which may keep the gateway waiting for ``limit_s`` in total.

    A large body whose client keeps the gateway waiting for ``SLOT_WAIT_S`` releases its slot, so slow clients
    don't delay others of their tenant.
    """

    def __init__(self, receive: Receive, limit_s: float) -> None:
        self._receive, self._limit_s = receive, limit_s
        self._waited_s = self._slot_waited_s = 0.0

    async def receive(self, slot: LargeBodySlot) -> Message:
        """Return the next message; may release ``slot``. Raises ClientTimeout, Disconnected."""
        started_at = time.monotonic()
        try:
            async with asyncio.timeout(self._limit_s - self._waited_s):
                message = await (self._receive_in_slot(slot) if slot.is_occupied else self._receive())
        except TimeoutError:
            elapsed_s = self._waited_s + time.monotonic() - started_at
            raise ClientTimeout(limit_s=self._limit_s, elapsed_s=elapsed_s, headers=CLOSE) from None
        self._waited_s += time.monotonic() - started_at
        if message["type"] == "http.disconnect":
            raise Disconnected
        return message

    async def _receive_in_slot(self, slot: LargeBodySlot) -> Message:
        started_at = time.monotonic()
        next_message = asyncio.ensure_future(self._receive())
        try:
            await asyncio.wait([next_message], timeout=max(0.0, SLOT_WAIT_S - self._slot_waited_s))
            self._slot_waited_s += time.monotonic() - started_at
            if not next_message.done():
                self._slot_waited_s = 0.0
                await slot.release()
            return await next_message
        finally:
            next_message.cancel()
