"""Tells readers in this process that the log they follow has grown: one connection for all of them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from inference_worker.protocol import names
from inference_worker.transport.address import Address
from inference_worker.transport.redis_connection import RedisConnection, RedisUnavailable


class Wakeups:
    """Subscribes to the channels of the logs that are read here. What is missed is found by looking."""

    def __init__(self, redis_url: str) -> None:
        self._waiting: dict[str, set[asyncio.Event]] = {}
        self._link = RedisConnection(Address.from_url(redis_url), on_up=self._up, on_push=self._pushed)

    async def start(self) -> None:
        """Connect in the background."""
        await self._link.start()

    async def stop(self) -> None:
        """Close the connection."""
        await self._link.stop()

    @contextmanager
    def listening(self, log_id: str) -> Iterator[asyncio.Event]:
        """An event that is set whenever the log may have grown."""
        channel, event = names.stream_channel(log_id), asyncio.Event()
        waiting = self._waiting.setdefault(channel, set())
        if not waiting:
            self._say("SUBSCRIBE", channel)
        waiting.add(event)
        try:
            yield event
        finally:
            waiting.discard(event)
            if not waiting and self._waiting.get(channel) is waiting:
                del self._waiting[channel]
                self._say("UNSUBSCRIBE", channel)

    def _up(self) -> None:
        for channel in self._waiting:
            self._say("SUBSCRIBE", channel)

    def _say(self, command: str, channel: str) -> None:
        # Said again as soon as the connection is up.
        with contextlib.suppress(RedisUnavailable):
            self._link.call_push(command, channel)

    def _pushed(self, reply: list[Any]) -> bool:
        if reply[0] not in (b"message", b"subscribe", b"unsubscribe"):
            return False
        # Only after the confirmation is everything heard, so that wakes as well.
        if reply[0] != b"unsubscribe":
            for event in self._waiting.get(reply[1].decode(errors="replace"), ()):
                event.set()
        return True
