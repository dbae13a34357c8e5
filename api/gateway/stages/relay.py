"""Sends a call to a worker and its events to the client; moves to another worker while that is safe."""

from __future__ import annotations

import itertools
import logging
import re
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from api.gateway.http.exchange import Dispatch, Exchange
from api.gateway.stages.deadlines import Deadlines
from api.gateway.stages.engine_errors import error_of, may_move
from api.gateway.stages.limits import NO_WORKER_RETRY_S, Limits
from api.openai.errors.base import ApiError
from api.openai.errors.service import CoordinationUnavailable, NoWorkerAvailable
from inference_worker.client.interface import (
    Call,
    EngineClient,
    Lost,
    NoWorkerError,
    Stream,
    StreamEvent,
    TransportError,
)
from inference_worker.protocol.messages import Accepted, Delta, Failed, Finished

logger = logging.getLogger("cyllm.gateway.relay")

# Quotes inside a JSON string are escaped: what a model writes can't look like this.
_TEXT = re.compile(rb'"(?:content|text|reasoning|reasoning_content|arguments|name)": ?"[^"]')


class AnswerWriter(Protocol):
    """Where an answer goes: to the client, or to a log. ``has_data``: a part of it has gone there."""

    has_data: bool

    async def data(self, events: bytes) -> None:
        """Whole events of a streamed answer, in one piece."""
        ...

    async def comment(self) -> None:
        """The answer takes its time."""
        ...

    async def finish(self) -> None:
        """The streamed answer is complete."""
        ...

    async def json(self, body: bytes) -> None:
        """The whole answer as one document."""
        ...

    def begin_again(self) -> None:
        """Another worker is asked; only as long as there is no data."""
        ...


async def relay(
    client: EngineClient, call: Call, answer: AnswerWriter, exchange: Exchange, limits: Limits
) -> None:
    """Run the call to its end. Raises ApiError; the answer may have begun by then."""
    deadlines = Deadlines(limits, exchange.begun, streamed=call.streamed)
    excluded: list[str] = []
    failure: ApiError | None = None
    for attempt in itertools.count(1):
        submitted_at = time.monotonic()
        stream = await _submit(client, call, exchange, deadlines, attempt, excluded, failure)
        try:
            ended = await _follow(stream, answer, exchange, deadlines)
        finally:
            stream.close()
        if isinstance(ended, Finished):
            await _finish(ended, answer, streamed=call.streamed)
            return
        failure = error_of(ended, call.operation, time.monotonic() - submitted_at)
        if answer.has_data or not may_move(ended) or attempt >= limits.submit_attempts:
            raise failure
        logger.warning("attempt %d on %s ended: %s", attempt, stream.worker_id, failure.code)
        excluded.append(stream.worker_id)
        answer.begin_again()
        deadlines.attempted_again()


async def _submit(
    client: EngineClient,
    call: Call,
    exchange: Exchange,
    deadlines: Deadlines,
    attempt: int,
    excluded: Sequence[str],
    failure: ApiError | None,
) -> Stream:
    """Raises ApiError; where no other worker is left, the error of the one that failed."""
    timed = replace(call, budget_s=deadlines.remaining_s())
    # Noted before: a worker may have it, and count it, where the way back to us is cut off at this moment.
    before, exchange.dispatch = exchange.dispatch, Dispatch(attempt)
    try:
        stream = await client.submit(timed, attempt=attempt, excluded=excluded)
    except NoWorkerError:
        exchange.dispatch = before
        if failure is not None:
            raise failure from None
        raise NoWorkerAvailable(headers={"retry-after": str(NO_WORKER_RETRY_S)}) from None
    except TransportError:
        raise CoordinationUnavailable() from None
    exchange.dispatch.worker_id = stream.worker_id
    return stream


async def _follow(
    stream: Stream, answer: AnswerWriter, exchange: Exchange, deadlines: Deadlines
) -> Finished | Failed | Lost:
    """Pass on what arrives until the attempt's last event, and return that. Raises ApiError on timeouts.

    All deltas that arrived together become one chunk: the busier the gateway, the fewer the writes.
    """
    while True:
        now = time.monotonic()
        events = await stream.next_events(deadlines.wait_s(now))
        now = time.monotonic()
        if not events:
            deadlines.check(now)
            if now >= deadlines.comment_at:
                await answer.comment()
                deadlines.commented(now)
            continue
        pieces, last = _sorted_out(events, deadlines)
        if pieces:
            if exchange.first_token_s is None:
                exchange.first_token_s = now - exchange.begun
            deadlines.token(now)
            await answer.data(pieces[0] if len(pieces) == 1 else b"".join(pieces))
            exchange.dispatch.pieces += sum(map(_has_text, pieces))
        if last is not None:
            exchange.dispatch.relayed = None if isinstance(last, Lost) else last.meter
            return last


def _sorted_out(
    events: Sequence[StreamEvent], deadlines: Deadlines
) -> tuple[list[bytes], Finished | Failed | Lost | None]:
    pieces: list[bytes] = []
    for event in events:
        if isinstance(event, Delta):
            pieces.append(event.data)
        elif isinstance(event, Accepted):
            deadlines.accepted()
        else:
            return pieces, event
    return pieces, None


def _has_text(piece: bytes) -> bool:
    """Whether a piece holds something generated: not only a role, an end, a usage count."""
    return _TEXT.search(piece) is not None


async def _finish(ended: Finished, answer: AnswerWriter, *, streamed: bool) -> None:
    if streamed:
        await answer.finish()
    else:
        await answer.json(ended.data)
