"""Collects the events of all calls and sends one frame per engine step to each gateway."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Callable

from inference_worker.protocol import codec
from inference_worker.protocol.messages import Delta, Event, Finished, Frame
from inference_worker.telemetry.masking import trace_without_messages
from inference_worker.transport.channel_layer import NoReceiverError, PubSubChannelLayer
from inference_worker.transport.redis_connection import RedisUnavailableError

logger = logging.getLogger("cyllm.worker.frames")

KEEPALIVE_INTERVAL_S = 1.0
RETRY_INTERVAL_S = 0.1
RETRY_TIMEOUT_S = 10.0
LARGE_FRAME_BYTES = 1024 * 1024
LOOP_TURNS_PER_STEP = 3  # turns in which the streams of one engine step pass through vLLM's application


class _Lane:
    """The session with one gateway while it has open calls: pending events and the next frame's number."""

    def __init__(self) -> None:
        self.name = secrets.token_hex(6)
        self.events: list[Event] = []
        self.wake = asyncio.Event()
        self.sequence = 0
        self.task: asyncio.Task[None] | None = None

    def pop_events(self) -> tuple[Event, ...]:
        """Remove and return the events of the next frame: all, up to one that makes the frame large."""
        size = count = 0
        while count < len(self.events) and size < LARGE_FRAME_BYTES:
            event = self.events[count]
            size += len(event.data) if isinstance(event, Delta | Finished) else 0
            count += 1
        events, self.events = tuple(self.events[:count]), self.events[count:]
        return events


class FrameSender:
    """Sends events to gateways in the background; ``put`` never blocks.

    ``has_calls(gateway)``: whether an idle lane must stay open. ``on_disconnect(gateway)`` is called if a
    gateway with open calls no longer listens.
    """

    def __init__(
        self,
        layer: PubSubChannelLayer,
        worker_id: str,
        *,
        has_calls: Callable[[str], bool],
        on_disconnect: Callable[[str], None],
    ) -> None:
        self._layer, self._worker_id = layer, worker_id
        self._has_calls, self._on_disconnect = has_calls, on_disconnect
        self._lanes: dict[str, _Lane] = {}

    def put(self, reply_to: str, event: Event) -> None:
        """Send the event with the next frame to this gateway."""
        lane = self.open(reply_to)
        lane.events.append(event)
        lane.wake.set()

    def open(self, reply_to: str) -> _Lane:
        """Return the lane to this gateway, opened if necessary. It sends keep-alives from the start."""
        lane = self._lanes.get(reply_to)
        if lane is None:
            lane = self._lanes[reply_to] = _Lane()
            lane.task = asyncio.create_task(self._run(reply_to, lane), name=f"lane-{reply_to}")
        return lane

    async def flush(self, timeout_s: float) -> None:
        """Wait until all events are sent, at most ``timeout_s``."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while any(lane.events or lane.wake.is_set() for lane in self._lanes.values()):
                    await asyncio.sleep(0.01)

    async def stop(self) -> None:
        """Stop all lanes and drop their pending events."""
        tasks = [lane.task for lane in self._lanes.values() if lane.task]
        self._lanes.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, reply_to: str, lane: _Lane) -> None:
        """Send frames until the gateway has no open calls or no longer listens."""
        is_connected = True
        try:
            while is_connected and await self._wait_for_work(reply_to, lane):
                is_connected = await self._send_next(reply_to, lane)
        except Exception as error:
            # The cancelled calls end over a new lane, where the gateway finds that events are missing.
            trace = trace_without_messages(error)
            logger.error("the lane to %s failed: cancelling its calls", reply_to, extra={"trace": trace})
            is_connected = False
        self._lanes.pop(reply_to, None)
        if not is_connected:
            self._on_disconnect(reply_to)

    async def _wait_for_work(self, reply_to: str, lane: _Lane) -> bool:
        """Wait for events or the next keep-alive. Return False if the lane is no longer needed."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(KEEPALIVE_INTERVAL_S):
                await lane.wake.wait()
        return bool(lane.events) or self._has_calls(reply_to)

    async def _send_next(self, reply_to: str, lane: _Lane) -> bool:
        """Send one frame, a keep-alive if no event is pending. Return False if the gateway doesn't listen."""
        for _ in range(LOOP_TURNS_PER_STEP if lane.events else 0):
            await asyncio.sleep(0)
        events = lane.pop_events()
        frame = Frame(worker_id=self._worker_id, lane=lane.name, sequence=lane.sequence, events=events)
        lane.sequence += 1
        is_delivered = await self._deliver(reply_to, codec.encode(frame))
        if not lane.events:
            lane.wake.clear()
        return is_delivered

    async def _deliver(self, reply_to: str, data: bytes) -> bool:
        """Send until Redis confirms. The gateway detects a frame that arrives twice by its number."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + RETRY_TIMEOUT_S
        while loop.time() < deadline:
            try:
                await self._layer.send(reply_to, {"type": "relay.frame", "data": data})
            except NoReceiverError:
                logger.info("gateway %s no longer listens", reply_to)
                return False
            except RedisUnavailableError:
                await asyncio.sleep(RETRY_INTERVAL_S)
            else:
                return True
        logger.error("Redis unavailable for %d s: dropping the streams of %s", RETRY_TIMEOUT_S, reply_to)
        return False
