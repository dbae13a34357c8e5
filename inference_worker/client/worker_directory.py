"""Which workers live, what they serve and how busy they are, as one gateway process sees it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Sequence
from typing import Any

from inference_worker.protocol import codec, names
from inference_worker.protocol.messages import DEFAULT_OPERATIONS, Heartbeat, Operation, WorkerState
from inference_worker.transport.channel_layer import PubSubChannelLayer
from inference_worker.transport.redis_connection import RedisUnavailable

logger = logging.getLogger("cyllm.directory")

REFRESH_INTERVAL_S = 0.5
HUNG_LOOP_S = 10.0


def is_usable(worker: Heartbeat) -> bool:
    """Whether requests may go there: ready, and its event loop turns."""
    return worker.state is WorkerState.READY and worker.loop_lag_s < HUNG_LOOP_S


def offers(worker: Heartbeat, operation: Operation) -> bool:
    """Whether a worker's engine has this operation."""
    return operation in (worker.operations or DEFAULT_OPERATIONS)


class WorkerDirectory:
    """Reads the heartbeats twice a second. Expiry is Redis's, so clocks need not agree."""

    def __init__(self, layer: PubSubChannelLayer) -> None:
        self._layer = layer
        self._workers: dict[str, Heartbeat] = {}
        self._outstanding: dict[str, int] = {}

    def workers(self) -> Sequence[Heartbeat]:
        """All live workers, in whatever state."""
        return tuple(self._workers.values())

    def best(
        self,
        model: str,
        operation: Operation,
        excluded: Collection[str],
        silent_channels: Collection[str],
    ) -> Heartbeat | None:
        """The worker with the fewest outstanding tokens of ours, then the fewest requests of all.

        ``excluded`` are worker ids; ``silent_channels`` those on which nobody was found to listen.
        """
        candidates = [
            worker
            for worker in self._workers.values()
            if is_usable(worker)
            and model in worker.models
            and offers(worker, operation)
            and worker.worker_id not in excluded
            and worker.channel not in silent_channels
        ]
        if not candidates:
            return None
        return min(candidates, key=self._load)

    def _load(self, worker: Heartbeat) -> tuple[int, int]:
        return (self._outstanding.get(worker.worker_id, 0), worker.running + worker.waiting)

    def charge(self, worker_id: str, tokens: int) -> None:
        """Count tokens as outstanding on a worker; negative when the attempt is over."""
        left = self._outstanding.get(worker_id, 0) + tokens
        if left > 0:
            self._outstanding[worker_id] = left
        else:
            self._outstanding.pop(worker_id, None)

    def find(self, worker_id: str) -> Heartbeat | None:
        """A live worker by its id."""
        return self._workers.get(worker_id)

    def serves(self, channel: str) -> bool:
        """Whether a live worker with a turning event loop has this channel."""
        return any(w.channel == channel and w.loop_lag_s < HUNG_LOOP_S for w in self._workers.values())

    async def refresh(self) -> None:
        """Read all heartbeats. Raises RedisUnavailable."""
        ids: list[bytes] = await self._layer.call("ZRANGE", names.WORKER_INDEX, 0, -1)
        if not ids:
            self._workers = {}
            return
        values = await self._layer.call("MGET", *(names.worker_key(name.decode()) for name in ids))
        self._workers = {found.worker_id: found for found in map(_decoded, values) if found}

    async def silent(self, channels: Sequence[str]) -> set[str]:
        """Those of the channels on which nobody listens any more. Raises RedisUnavailable."""
        if not channels:
            return set()
        counts: list[Any] = await self._layer.call("PUBSUB", "NUMSUB", *channels)
        return {name.decode() for name, count in zip(counts[::2], counts[1::2], strict=True) if count == 0}

    async def keep_fresh(self) -> None:
        """Refresh until cancelled. While Redis is away the last view stays, for submit to fail by itself."""
        while True:
            try:
                await self.refresh()
            except RedisUnavailable:
                logger.debug("workers not refreshed: Redis is away")
            await asyncio.sleep(REFRESH_INTERVAL_S)


def _decoded(value: bytes | None) -> Heartbeat | None:
    if value is None:
        return None
    try:
        return codec.decode_heartbeat(value)
    except codec.ProtocolError as error:
        logger.warning("heartbeat of another protocol version left out: %s", error)
        return None
