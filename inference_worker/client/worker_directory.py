"""The live workers with their last heartbeats, as seen by one gateway process."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

from inference_worker.protocol import names
from inference_worker.protocol.messages import Heartbeat
from inference_worker.transport.channel_layer import PubSubChannelLayer
from inference_worker.transport.heartbeats import parse_heartbeat
from inference_worker.transport.redis_connection import RedisUnavailableError

logger = logging.getLogger("cyllm.directory")

REFRESH_INTERVAL_S = 0.5
HUNG_LOOP_S = 10.0


def is_responsive(worker: Heartbeat) -> bool:
    """Return whether a worker's event loop is running."""
    return worker.loop_lag_s < HUNG_LOOP_S


class WorkerDirectory:
    """Reads the heartbeats twice a second. Redis expires them, so clocks need not agree."""

    def __init__(self, layer: PubSubChannelLayer) -> None:
        self._layer = layer
        self._workers: dict[str, Heartbeat] = {}

    def workers(self) -> Sequence[Heartbeat]:
        """Return all live workers, in any state."""
        return tuple(self._workers.values())

    def find(self, worker_id: str) -> Heartbeat | None:
        """Return a live worker by its id."""
        return self._workers.get(worker_id)

    def has_responsive_worker(self, channel: str) -> bool:
        """Return whether this is the channel of a live worker whose event loop is running."""
        return any(worker.channel == channel and is_responsive(worker) for worker in self._workers.values())

    async def refresh(self) -> None:
        """Read all heartbeats. Raises RedisUnavailableError."""
        ids: list[bytes] = await self._layer.call("ZRANGE", names.WORKER_INDEX, 0, -1)
        if not ids:
            self._workers = {}
            return
        values = await self._layer.call("MGET", *(names.worker_key(name.decode()) for name in ids))
        self._workers = {worker.worker_id: worker for worker in map(parse_heartbeat, values) if worker}

    async def channels_without_receiver(self, channels: Sequence[str]) -> set[str]:
        """Return the channels to which no process is subscribed. Raises RedisUnavailableError."""
        if not channels:
            return set()
        counts: list[Any] = await self._layer.call("PUBSUB", "NUMSUB", *channels)
        return {name.decode() for name, count in zip(counts[::2], counts[1::2], strict=True) if count == 0}

    async def keep_fresh(self) -> None:
        """Refresh until cancelled. While Redis is unavailable, the workers stay as they were."""
        while True:
            try:
                await self.refresh()
            except RedisUnavailableError:
                logger.debug("workers not refreshed: Redis is unavailable")
            await asyncio.sleep(REFRESH_INTERVAL_S)
