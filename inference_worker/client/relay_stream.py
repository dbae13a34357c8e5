"""The stream of one attempt: the events that its worker sends through the relay."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from typing_extensions import override

from inference_worker.client.interface import Call, LossCause, Lost, Stream, StreamEvent
from inference_worker.protocol.messages import Cancel, Event, Failed, Finished, Heartbeat


class RelayStream(Stream):
    """Checks that events are consecutive. Wakes its reader once per frame."""

    def __init__(
        self,
        call: Call,
        attempt: int,
        worker: Heartbeat,
        *,
        send_cancel: Callable[[str, Cancel], None],
        on_close: Callable[[RelayStream], None],
    ) -> None:
        """``send_cancel`` sends a message to a worker's channel without waiting."""
        self.worker_id = worker.worker_id
        self.attempt = attempt
        self.request_id = call.request_id
        self.worker_channel = worker.channel
        self.cost_tokens = call.cost_tokens
        self.is_over = self.is_given_up = False
        self.last_event_at = time.monotonic()
        self._send_cancel, self._on_close = send_cancel, on_close
        self._events: list[StreamEvent] = []
        self._next_index = 0
        self._waiter: asyncio.Future[None] | None = None

    @override
    async def next_events(self, timeout_s: float) -> list[StreamEvent]:
        if not self._events:
            loop = asyncio.get_running_loop()
            self._waiter = loop.create_future()
            timer = loop.call_later(max(timeout_s, 0.0), _wake, self._waiter)
            try:
                await self._waiter
            finally:
                timer.cancel()
                self._waiter = None
        events, self._events = self._events, []
        return events

    @override
    def cancel(self, reason: str) -> None:
        self._send_cancel(self.worker_channel, Cancel(request_id=self.request_id, reason=reason))

    @override
    def close(self) -> None:
        if not self.is_over:
            self.is_over = self.is_given_up = True
            self.cancel("closed")
        self._on_close(self)

    def accept(self, event: Event) -> None:
        """Add an event from a frame. If one before it is missing, the stream is lost."""
        if event.attempt != self.attempt or self.is_over:
            return
        if event.index != self._next_index:
            self.lose(LossCause.EVENTS_LOST)
            return
        self._next_index += 1
        self.last_event_at = time.monotonic()
        if isinstance(event, Finished | Failed):
            self.is_over = True
        self._add(event)

    def lose(self, cause: LossCause) -> None:
        """End the stream with a Lost event, and cancel the attempt in case its worker is alive."""
        if not self.is_over:
            self.cancel(cause)
            self.is_over = True
            self._add(Lost(cause))

    def _add(self, event: StreamEvent) -> None:
        self._events.append(event)
        if self._waiter is not None:
            _wake(self._waiter)


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
