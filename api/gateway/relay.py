"""Sends a call to a worker and its events to the client; moves to another worker while that is safe."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import replace

from api.gateway.answer import Answer
from api.gateway.deadlines import Deadlines
from api.gateway.engine_errors import error_of, may_move
from api.gateway.exchange import Exchange
from api.gateway.limits import Limits
from api.openai.errors import ApiError
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

NO_WORKER_RETRY_S = 5


async def relay(client: EngineClient, call: Call, answer: Answer, exchange: Exchange, limits: Limits) -> None:
    """Run the call to its end. Raises ApiError; the answer may have begun by then."""
    deadlines = Deadlines(limits, exchange.begun, streamed=call.streamed)
    excluded: list[str] = []
    failure: ApiError | None = None
    for attempt in range(1, limits.submit_attempts + 1):
        stream = await _submit(client, call, deadlines, attempt, excluded, failure)
        exchange.attempt, exchange.worker_id = attempt, stream.worker_id
        submitted_at = time.monotonic()
        try:
            ended = await _follow(stream, answer, exchange, deadlines)
        finally:
            stream.close()
        if isinstance(ended, Finished):
            await _finish(ended, answer, streamed=call.streamed)
            return
        failure = error_of(ended, call.operation, time.monotonic() - submitted_at)
        if answer.has_data or not may_move(ended):
            break
        logger.warning("attempt %d on %s ended: %s", attempt, stream.worker_id, failure.code)
        excluded.append(stream.worker_id)
        deadlines.attempted_again()
    assert failure is not None  # noqa: S101 - an invariant: there is at least one attempt
    raise failure


async def _submit(
    client: EngineClient,
    call: Call,
    deadlines: Deadlines,
    attempt: int,
    excluded: Sequence[str],
    failure: ApiError | None,
) -> Stream:
    """Raises ApiError; where no other worker is left, the error of the one that failed."""
    timed = replace(call, budget_s=deadlines.remaining_s())
    try:
        return await client.submit(timed, attempt=attempt, excluded=excluded)
    except NoWorkerError:
        if failure is not None:
            raise failure from None
        raise ApiError("no_worker_available", headers={"retry-after": str(NO_WORKER_RETRY_S)}) from None
    except TransportError:
        raise ApiError("redis_unavailable") from None


async def _follow(
    stream: Stream, answer: Answer, exchange: Exchange, deadlines: Deadlines
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
        if last is not None:
            exchange.relayed = None if isinstance(last, Lost) else last.meter
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


async def _finish(ended: Finished, answer: Answer, *, streamed: bool) -> None:
    if streamed:
        await answer.finish()
    else:
        await answer.json(ended.data)
