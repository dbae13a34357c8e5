"""Reads a log to a client: what is there, and what comes, from any event on."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from api.gateway.http.answer import Answer
from api.gateway.http.disconnect import Receive, cancel_on_disconnect
from api.gateway.http.exchange import Exchange
from api.gateway.http.query_parameters import number_of
from api.gateway.stages.capacity import BodyBudget, SharedSlots
from api.gateway.stages.limits import Limits
from api.gateway.streams.detached import DetachedRequest
from api.gateway.streams.event_log import LOOK_INTERVAL_S, Entry, EventLogs, Kind, Log, closing_events
from api.openai.errors.base import ApiError
from api.openai.errors.parameters import InvalidValue
from api.openai.errors.resources import RequestCancelled
from api.openai.errors.service import TotalTimeout

STARTING_AFTER = "starting_after"
FROM_THE_START = -1
SLOW_READER_S = 60.0


@dataclass(frozen=True, slots=True)
class LogReaders:
    """The readers of logs in this process."""

    logs: EventLogs
    limits: Limits
    places: SharedSlots
    bodies: BodyBudget

    async def first(self, job: DetachedRequest, receive: Receive, answer: Answer) -> None:
        """Show a job to the client that made it; an error before its first event still has a status."""
        await cancel_on_disconnect(receive, self._first(job, answer))

    async def again(self, log: Log, exchange: Exchange, after: int, receive: Receive, answer: Answer) -> None:
        """Show a log from the event behind ``after`` on to a client that came (back) for it."""
        with self.places.take(exchange.caller):
            if exchange.method == "HEAD":
                await answer.end()
            else:
                await cancel_on_disconnect(receive, self._show(log, after, answer))

    async def _first(self, job: DetachedRequest, answer: Answer) -> None:
        sink = job.sink
        try:
            await asyncio.shield(sink.begun)
        except ApiError:
            # The client is told at once; nobody else knows the id.
            with contextlib.suppress(ApiError):
                await self.logs.delete(sink.log_id, sink.tenant_id)
            raise
        log = await self.logs.find(sink.log_id, sink.tenant_id)
        if log is None:
            raise RequestCancelled()
        await self._show(log, FROM_THE_START, answer)

    async def _show(self, log: Log, after: int, answer: Answer) -> None:
        if log.kind is Kind.RESPONSE:
            answer.error_events = _response_error
        answer.headers.append((b"x-stream-id", log.log_id.encode()))
        limit_s = self.limits.total_timeout_s + SLOW_READER_S
        begun = time.monotonic()
        try:
            async with asyncio.timeout(limit_s):
                await self._pass_on(log, after, answer)
        except TimeoutError:
            elapsed_s = time.monotonic() - begun
            raise TotalTimeout(elapsed_s=elapsed_s, limit_s=limit_s) from None

    async def _pass_on(self, log: Log, after: int, answer: Answer) -> None:
        comment_s = self.limits.stream_comment_s
        comment_at = time.monotonic() + comment_s
        following = self.logs.follow(log, after, min(LOOK_INTERVAL_S, comment_s))
        # Closed here: who leaves while an answer is written would stay subscribed for a while.
        async with contextlib.aclosing(following):
            async for entries in following:
                if entries:
                    await self._give(rendered(entries), log.tenant_id, answer)
                elif time.monotonic() >= comment_at:
                    await answer.comment()
                else:
                    continue
                comment_at = time.monotonic() + comment_s
        await answer.end()

    async def _give(self, events: bytes, tenant_id: str, answer: Answer) -> None:
        """Give a reader what is held for it until it has taken it. Raises ApiError where there is no room."""
        with self.bodies.account(tenant_id) as more:
            more(len(events))
            await answer.data(events)


def rendered(entries: Sequence[Entry]) -> bytes:
    """Entries as server-sent events with their numbers as ids."""
    return b"".join(b"id: %d\n%s\n\n" % (entry.number, entry.event) for entry in entries)


def starting_point(exchange: Exchange, query: Mapping[str, str], log: Log) -> int:
    """The number after which the client wants to read. Raises ApiError."""
    header = exchange.header(b"last-event-id")
    given = query.get(STARTING_AFTER)
    if header is not None and given is not None:
        raise InvalidValue(param=STARTING_AFTER, reason="the header Last-Event-ID is there as well")
    text = header if given is None else given
    if text is None:
        return FROM_THE_START
    after = number_of(STARTING_AFTER if given is not None else "Last-Event-ID", text.strip())
    if after >= max(log.next_number, 1):
        reason = f"the last event so far has number {log.next_number - 1}"
        raise InvalidValue(param=STARTING_AFTER, reason=reason)
    return after


def _response_error(error: ApiError) -> bytes:
    # Not of the log, so it has no number of its own; the client may resume after the last that has.
    return b"\n\n".join([*closing_events(Kind.RESPONSE, error, 0), b""])
