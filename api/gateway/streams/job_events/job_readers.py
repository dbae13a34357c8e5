"""Readers of job events: server-sent events with the past and the present of a fine-tuning job."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass

from api.gateway.capacity.process_capacity import Capacity
from api.gateway.http.disconnect import Disconnected, Receive, cancel_on_disconnect
from api.gateway.http.exchange import Exchange
from api.gateway.http.response_sender import ResponseSender
from api.gateway.settings import Limits
from api.gateway.stages.access.authenticate import FindPrincipal
from api.gateway.stages.access.authorize import authorize
from api.gateway.stages.recording.record_start import StartRecorder
from api.gateway.state.fine_tuning import NumberedEvent
from api.gateway.streams.job_events.job_feeds import JobFeeds
from api.openai.errors.service import DatabaseUnavailable
from inference_worker.protocol import sse
from tenants.choices import Scope

SCOPES = (Scope.FINE_TUNING_READ.value, Scope.FINE_TUNING.value)
SLOW_READER_S = 60.0
EVENTS_PER_WRITE = 64


@dataclass(frozen=True, slots=True)
class JobEventReaders:
    """Sends the events of jobs to the clients of this process.

    A stream lasts as long as its job, so the key is checked again and again: a stream ends with the key.
    """

    feeds: JobFeeds
    limits: Limits
    capacity: Capacity
    start_recorder: StartRecorder
    find_principal: FindPrincipal

    async def read(
        self, job_id: str, after: int, exchange: Exchange, receive: Receive, sender: ResponseSender
    ) -> None:
        """Send the events that follow number ``after``, until the job has ended. Raises ApiError."""
        with self.capacity.log_readers.slot(exchange.tenant_id):
            if exchange.method == "HEAD":
                await sender.end()
            else:
                # A read lasts as long as its job; if this gateway dies, the sweep finds the reader.
                await self.start_recorder.record_start(exchange)
                await cancel_on_disconnect(receive, self._send(job_id, after, exchange, sender))

    async def _send(self, job_id: str, after: int, exchange: Exchange, sender: ResponseSender) -> None:
        comment_s = self.limits.stream_comment_s
        checked_at = time.monotonic()
        batches = self.feeds.follow(job_id, after, comment_s)
        # Close explicitly: after a disconnect during a write the generator would stay subscribed for a while.
        async with contextlib.aclosing(batches):
            async for events in batches:
                if time.monotonic() - checked_at >= comment_s:
                    await self._check_key(exchange)
                    checked_at = time.monotonic()
                for start in range(0, len(events) or 1, EVENTS_PER_WRITE):
                    part = events[start : start + EVENTS_PER_WRITE]
                    await self._send_batch(part, exchange.tenant_id, sender)
        await sender.finish()

    async def _check_key(self, exchange: Exchange) -> None:
        """Raise ApiError if the key has been revoked, has expired or has lost its scope."""
        # While the database is unavailable, there are no events to protect either.
        with contextlib.suppress(DatabaseUnavailable):
            await authorize(exchange, SCOPES, self.find_principal)

    async def _send_batch(
        self, events: Sequence[NumberedEvent], tenant_id: str, sender: ResponseSender
    ) -> None:
        try:
            async with asyncio.timeout(SLOW_READER_S):
                if not events:
                    await sender.comment()
                    return
                data = encode(events)
                with self.capacity.bodies.hold(tenant_id, len(data)):
                    await sender.events(data)
        except TimeoutError:
            raise Disconnected from None


def encode(events: Sequence[NumberedEvent]) -> bytes:
    """Return events as server-sent events with their numbers as ids."""
    return sse.join_events(sse.numbered_event(event.number, sse.data_event(event.data)) for event in events)
