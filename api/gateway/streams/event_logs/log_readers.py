"""Log readers: send the past and future events of a log to a client, from any event on."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from api.gateway.capacity.process_capacity import Capacity
from api.gateway.http.disconnect import Receive, cancel_on_disconnect
from api.gateway.http.exchange import Exchange
from api.gateway.http.query_parameters import parse_integer
from api.gateway.http.response_sender import ResponseSender
from api.gateway.http.url_table import QueryParameters
from api.gateway.settings import Limits
from api.gateway.stages.recording.record_start import StartRecorder
from api.gateway.streams.event_logs.detached_requests import DetachedRequest
from api.gateway.streams.event_logs.event_log import POLL_INTERVAL_S, EventLogs, Log, LogEntry
from api.gateway.streams.output.closing_events import LogKind, closing_events
from api.openai.errors.base import ApiError
from api.openai.errors.parameters import InvalidValue
from api.openai.errors.service import TotalTimeout
from api.openai.errors.streams import RequestCancelled
from inference_worker.protocol import sse

STARTING_AFTER = "starting_after"
STARTING_AFTER_QUERY: QueryParameters = {STARTING_AFTER: {"type": "integer", "minimum": 0}}
LAST_EVENT_ID = "Last-Event-ID"
BEFORE_FIRST = -1
SLOW_READER_S = 60.0


@dataclass(frozen=True, slots=True)
class LogReaders:
    """Sends event logs to the clients of this process."""

    logs: EventLogs
    limits: Limits
    capacity: Capacity
    start_recorder: StartRecorder

    def slot(self, tenant_id: str) -> AbstractContextManager[None]:
        """Occupy a reader slot. Raises Overloaded if none is available to the tenant."""
        return self.capacity.log_readers.slot(tenant_id)

    async def read_own(self, request: DetachedRequest, receive: Receive, sender: ResponseSender) -> None:
        """Send a detached request's log to the client that made it, which occupies a slot already.

        An error before the first event still determines the status.
        """
        await cancel_on_disconnect(receive, self._read_own(request, sender))

    async def read(
        self, log: Log, exchange: Exchange, after: int, receive: Receive, sender: ResponseSender
    ) -> None:
        """Send a log to a client, starting with the event that follows number ``after``."""
        with self.slot(exchange.tenant_id):
            if exchange.method == "HEAD":
                await sender.end()
            else:
                # A read lasts as long as its stream; if this gateway dies, the sweep finds the reader.
                await self.start_recorder.record_start(exchange)
                await cancel_on_disconnect(receive, self._send_log(log, after, sender))

    async def _read_own(self, request: DetachedRequest, sender: ResponseSender) -> None:
        writer = request.writer
        try:
            await asyncio.shield(writer.first_event)
        except ApiError:
            # The client receives the error; no one else knows the id.
            with contextlib.suppress(ApiError):
                await self.logs.delete(writer.log_id, writer.tenant_id)
            raise
        log = await self.logs.find(writer.log_id, writer.tenant_id)
        if log is None:
            raise RequestCancelled()
        await self._send_log(log, BEFORE_FIRST, sender)

    async def _send_log(self, log: Log, after: int, sender: ResponseSender) -> None:
        if log.kind is LogKind.RESPONSE:
            sender.error_events = _response_error
        sender.headers.append((b"x-stream-id", log.log_id.encode()))
        limit_s = self.limits.total_timeout_s + SLOW_READER_S
        started_at = time.monotonic()
        try:
            async with asyncio.timeout(limit_s):
                await self._send_entries(log, after, sender)
        except TimeoutError:
            elapsed_s = time.monotonic() - started_at
            raise TotalTimeout(elapsed_s=elapsed_s, limit_s=limit_s) from None

    async def _send_entries(self, log: Log, after: int, sender: ResponseSender) -> None:
        comment_s = self.limits.stream_comment_s
        comment_at = time.monotonic() + comment_s
        batches = self.logs.follow(log, after, min(POLL_INTERVAL_S, comment_s))
        # Close explicitly: after a disconnect during a write the generator would stay subscribed for a while.
        async with contextlib.aclosing(batches):
            async for entries in batches:
                if entries:
                    await self._send_events(encode_entries(entries), log.tenant_id, sender)
                elif time.monotonic() >= comment_at:
                    await sender.comment()
                else:
                    continue
                comment_at = time.monotonic() + comment_s
        await sender.end()

    async def _send_events(self, events: bytes, tenant_id: str, sender: ResponseSender) -> None:
        """Send events, accounted for as body bytes until the reader has received them. Raises Overloaded."""
        with self.capacity.bodies.hold(tenant_id, len(events)):
            await sender.events(events)


def encode_entries(entries: Sequence[LogEntry]) -> bytes:
    """Return entries as server-sent events with their numbers as ids."""
    return sse.join_events(sse.numbered_event(entry.number, entry.event) for entry in entries)


def starting_point(exchange: Exchange, next_number: int) -> int:
    """Return the number of the event after which the client wants to read. Raises ApiError.

    ``next_number``: the number of the next event.
    """
    header = exchange.header(LAST_EVENT_ID.lower().encode())
    after: int | None = exchange.query[STARTING_AFTER]
    if header is not None and after is not None:
        raise InvalidValue(
            param=STARTING_AFTER, reason=f"it can't be combined with the header {LAST_EVENT_ID}"
        )
    if header is not None:
        after = parse_integer(LAST_EVENT_ID, header.strip())
    if after is None:
        return BEFORE_FIRST
    if after >= max(next_number, 1):
        reason = f"the last event so far has number {next_number - 1}"
        raise InvalidValue(param=STARTING_AFTER, reason=reason)
    return after


def _response_error(error: ApiError) -> bytes:
    # Not part of the log, so it has no id; the client may resume after the last event with an id.
    return sse.join_events(closing_events(LogKind.RESPONSE, error, 0))
