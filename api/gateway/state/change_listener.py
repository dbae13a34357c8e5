"""Listens for changes of keys, tenants and models, and empties the caches concerned."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from inference_worker.protocol import names
from inference_worker.transport.address import Address
from inference_worker.transport.redis_connection import RedisConnection

logger = logging.getLogger("cyllm.gateway.changes")


class ChangeListener:
    """``on_key(prefix)``, ``on_tenant()``, ``on_models()``, ``on_stream(id)`` when one is to be cancelled;
    ``on_gap()`` when some may have been missed.

    While the connection is down nothing is heard: then the caches' own age limit has to do.
    """

    def __init__(
        self,
        redis_url: str,
        *,
        on_key: Callable[[str], None],
        on_tenant: Callable[[], None],
        on_models: Callable[[], None],
        on_stream: Callable[[str], None],
        on_gap: Callable[[], None],
    ) -> None:
        self._on_key, self._on_tenant, self._on_models, self._on_gap = on_key, on_tenant, on_models, on_gap
        self._on_stream = on_stream
        self._link = RedisConnection(
            Address.from_url(redis_url), on_up=self._up, on_down=on_gap, on_push=self._pushed
        )

    async def start(self) -> None:
        """Connect in the background."""
        await self._link.start()

    async def stop(self) -> None:
        """Close the connection."""
        await self._link.stop()

    def _up(self) -> None:
        self._link.call_push("SUBSCRIBE", names.CHANGES_CHANNEL)

    def _pushed(self, reply: list[Any]) -> bool:
        if reply[0] == b"message":
            self._apply(reply[2].decode(errors="replace"))
            return True
        if reply[0] == b"subscribe":
            # Only from here on is every change heard.
            self._on_gap()
            return True
        return False

    def _apply(self, change: str) -> None:
        kind, _, name = change.partition(" ")
        if kind == "key":
            self._on_key(name)
        elif kind == "tenant":
            self._on_tenant()
        elif kind == "models":
            self._on_models()
        elif kind == "stream":
            self._on_stream(name)
        else:
            logger.warning("change of an unknown kind: everything is read again")
            self._on_gap()
