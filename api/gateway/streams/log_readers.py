"""Log readers: send the past and future events of a log to a client, from any event on."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from api.gateway.http.answer import Answer
from api.gateway.http.disconnect import Receive, cancel_on_disconnect
from api.gateway.http.exchange import Exchange
from api.gateway.http.query_parameters import parse_integer
from api.gateway.http.url_table import QueryParameters
from api.gateway.settings import Limits
from api.gateway.stages.capacity import Capacity
from api.gateway.streams.detached import DetachedRequest
from api.gateway.streams.event_log import (
    POLL_INTERVAL_S,
    EventLogs,
    Log,
    LogEntry,
    LogKind,
    closing_events,
)
from api.openai.errors.base import ApiError
from api.openai.errors.parameters import InvalidValue
from api.openai.errors.resources import RequestCancelled
from api.openai.errors.service import TotalTimeout
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

    def slot(self, tenant_id: str) -> AbstractContextManager[None]:
        """Occupy a reader slot. Raises Overloaded if none is available to the tenant."""
        return self.capacity.log_readers.slot(tenant_id)

    async def read_own(self, request: DetachedRequest, receive: Receive, answer: Answer) -> None:
        """Send a detached request's log to the client that made it, which occupies a slot already.

        An error before the first event still determines the status.
        """
        await cancel_on_disconnect(receive, self._read_own(request, answer))

    async def read(self, log: Log, exchange: Exchange, after: int, receive: Receive, answer: Answer) -> None:
        """Send a log to a client, starting with the event that follows number ``after``."""
        with self.slot(exchange.tenant_id):
            if exchange.method == "HEAD":
                await answer.end()
            else:
                await cancel_on_disconnect(receive, self._send_log(log, after, answer))

    async def _read_own(self, request: DetachedRequest, answer: Answer) -> None:
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
        await self._send_log(log, BEFORE_FIRST, answer)

    async def _send_log(self, log: Log, after: int, answer: Answer) -> None:
        if log.kind is LogKind.RESPONSE:
            answer.error_events = _response_error
        answer.headers.append((b"x-stream-id", log.log_id.encode()))
        limit_s = self.limits.total_timeout_s + SLOW_READER_S
        started_at = time.monotonic()
        try:
            async with asyncio.timeout(limit_s):
                await self._send_entries(log, after, answer)
        except TimeoutError:
            elapsed_s = time.monotonic() - started_at
            raise TotalTimeout(elapsed_s=elapsed_s, limit_s=limit_s) from None

    async def _send_entries(self, log: Log, after: int, answer: Answer) -> None:
        comment_s = self.limits.stream_comment_s
        comment_at = time.monotonic() + comment_s
        batches = self.logs.follow(log, after, min(POLL_INTERVAL_S, comment_s))
        # Close explicitly: after a disconnect during a write the generator would stay subscribed for a while.
        async with contextlib.aclosing(batches):
            async for entries in batches:
                if entries:
                    await self._send_events(encode_entries(entries), log.tenant_id, answer)
                elif time.monotonic() >= comment_at:
                    await answer.comment()
                else:
                    continue
                comment_at = time.monotonic() + comment_s
        await answer.end()

    async def _send_events(self, events: bytes, tenant_id: str, answer: Answer) -> None:
        """Send events, accounted for as body bytes until the reader has received them. Raises Overloaded."""
        with self.capacity.bodies.account(tenant_id) as grow:
            grow(len(events))
            await answer.data(events)


def encode_entries(entries: Sequence[LogEntry]) -> bytes:
    """Return entries as server-sent events with their numbers as ids."""
    return sse.join_events(sse.numbered_event(entry.number, entry.event) for entry in entries)


def starting_point(exchange: Exchange, query: Mapping[str, str], log: Log) -> int:
    """Return the number of the event after which the client wants to read. Raises ApiError."""
    header = exchange.header(LAST_EVENT_ID.lower().encode())
    parameter = query.get(STARTING_AFTER)
    if header is not None and parameter is not None:
        raise InvalidValue(
            param=STARTING_AFTER, reason=f"it can't be combined with the header {LAST_EVENT_ID}"
        )
    text = header if parameter is None else parameter
    if text is None:
        return BEFORE_FIRST
    after = parse_integer(STARTING_AFTER if parameter is not None else LAST_EVENT_ID, text.strip())
    if after >= max(log.next_number, 1):
        reason = f"the last event so far has number {log.next_number - 1}"
        raise InvalidValue(param=STARTING_AFTER, reason=reason)
    return after


def _response_error(error: ApiError) -> bytes:
    # Not part of the log, so it has no id; the client may resume after the last event with an id.
    return sse.join_events(closing_events(LogKind.RESPONSE, error, 0))
