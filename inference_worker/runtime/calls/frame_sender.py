"""Collects the events of all streams and sends one frame per engine step to each gateway."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Callable

from inference_worker.protocol import codec
from inference_worker.protocol.messages import Delta, Event, Finished, Frame
from inference_worker.transport.channel_layer import NoReceiver, PubSubChannelLayer
from inference_worker.transport.redis_connection import RedisUnavailable

logger = logging.getLogger("cyllm.worker.outbox")

SIGN_OF_LIFE_S = 1.0
RETRY_INTERVAL_S = 0.1
GIVE_UP_S = 10.0
LARGE_FRAME_BYTES = 1024 * 1024
TURNS_PER_STEP = 3  # loop turns in which the streams of one engine step pass through vLLM's application


class _Lane:
    """The way to one gateway, while it has open calls: what waits for the next frame, and its number."""

    def __init__(self) -> None:
        self.name = secrets.token_hex(6)
        self.events: list[Event] = []
        self.wake = asyncio.Event()
        self.sequence = 0
        self.task: asyncio.Task[None] | None = None

    def take(self) -> tuple[Event, ...]:
        """The events of the next frame: all that wait, but no more behind one that makes it large."""
        size = count = 0
        while count < len(self.events) and size < LARGE_FRAME_BYTES:
            event = self.events[count]
            size += len(event.data) if isinstance(event, Delta | Finished) else 0
            count += 1
        taken, self.events = tuple(self.events[:count]), self.events[count:]
        return taken


class FrameSender:
    """``put`` never waits. ``has_calls(gateway)`` tells whether a quiet lane is still needed;
    ``on_gone(gateway)`` is called when a gateway that has calls does not listen any more.
    """

    def __init__(
        self,
        layer: PubSubChannelLayer,
        worker_id: str,
        *,
        has_calls: Callable[[str], bool],
        on_gone: Callable[[str], None],
    ) -> None:
        self._layer, self._worker_id = layer, worker_id
        self._has_calls, self._on_gone = has_calls, on_gone
        self._lanes: dict[str, _Lane] = {}

    def put(self, reply_to: str, event: Event) -> None:
        """Send with the next frame to this gateway."""
        lane = self.open(reply_to)
        lane.events.append(event)
        lane.wake.set()

    def open(self, reply_to: str) -> _Lane:
        """Watch this gateway from now on, even if there is nothing to send to it yet."""
        lane = self._lanes.get(reply_to)
        if lane is None:
            lane = self._lanes[reply_to] = _Lane()
            lane.task = asyncio.create_task(self._run(reply_to, lane), name=f"lane-{reply_to}")
        return lane

    async def flush(self, timeout_s: float) -> None:
        """Wait until everything is sent, for ``timeout_s`` at most."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while any(lane.events or lane.wake.is_set() for lane in self._lanes.values()):
                    await asyncio.sleep(0.01)

    async def stop(self) -> None:
        """Stop all lanes; what has not been sent is dropped."""
        tasks = [lane.task for lane in self._lanes.values() if lane.task]
        self._lanes.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, reply_to: str, lane: _Lane) -> None:
        """Send frames until the gateway has no calls here, or is gone."""
        reached = True
        while reached and await self._needed(reply_to, lane):
            reached = await self._send_next(reply_to, lane)
        del self._lanes[reply_to]
        if not reached:
            self._on_gone(reply_to)

    async def _needed(self, reply_to: str, lane: _Lane) -> bool:
        """Wait for events, or for the time of a sign of life. False: all is sent and no call is open."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SIGN_OF_LIFE_S):
                await lane.wake.wait()
        return bool(lane.events) or self._has_calls(reply_to)

    async def _send_next(self, reply_to: str, lane: _Lane) -> bool:
        """Send one frame, empty if nothing came for a while; false if the gateway is gone."""
        for _ in range(TURNS_PER_STEP if lane.events else 0):
            await asyncio.sleep(0)
        events = lane.take()
        frame = Frame(worker_id=self._worker_id, lane=lane.name, sequence=lane.sequence, events=events)
        lane.sequence += 1
        sent = await self._deliver(reply_to, codec.encode(frame))
        if not lane.events:
            lane.wake.clear()
        return sent

    async def _deliver(self, reply_to: str, data: bytes) -> bool:
        """Send until Redis has confirmed. The same frame may arrive twice; its number tells."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + GIVE_UP_S
        while loop.time() < deadline:
            try:
                await self._layer.send(reply_to, {"type": "relay.frame", "data": data})
            except NoReceiver:
                logger.info("gateway %s does not listen any more", reply_to)
                return False
            except RedisUnavailable:
                await asyncio.sleep(RETRY_INTERVAL_S)
            else:
                return True
        logger.error("Redis away for %d s: the streams of %s are given up", GIVE_UP_S, reply_to)
        return False
