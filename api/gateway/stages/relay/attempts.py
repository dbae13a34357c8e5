"""Attempts of a call: submits it to a worker, writes its events, retries on other workers if possible."""

from __future__ import annotations

import itertools
import logging
import re
import time
from collections.abc import Sequence
from dataclasses import replace

from api.gateway.http.exchange import Exchange, LastAttempt
from api.gateway.settings import Limits
from api.gateway.stages.relay.deadlines import Deadlines
from api.gateway.stages.relay.engine_errors import attempt_error, is_retryable
from api.gateway.stages.relay.output_writer import OutputWriter
from api.openai.errors.base import ApiError
from api.openai.errors.retry_after import NO_WORKER_RETRY_S, retry_after
from api.openai.errors.service import NoWorkerAvailable, RedisUnavailable
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


# A quote inside a JSON string is escaped, so generated text can't match.
_TEXT = re.compile(rb'"(?:content|text|reasoning|reasoning_content|arguments|name)": ?"[^"]')


async def run_attempts(
    client: EngineClient, call: Call, writer: OutputWriter, exchange: Exchange, limits: Limits
) -> None:
    """Run the call to its end. Raises ApiError, possibly after part of the output has been written."""
    deadlines = Deadlines(limits, exchange.arrived_at, is_streamed=call.streamed)
    excluded_workers: list[str] = []
    failure: ApiError | None = None
    for attempt in itertools.count(1):
        submitted_at = time.monotonic()
        stream = await _submit(client, call, exchange, deadlines, attempt, excluded_workers, failure)
        try:
            last_event = await _follow(stream, writer, exchange, deadlines)
        finally:
            stream.close()
        if isinstance(last_event, Finished):
            await _finish(last_event, writer, is_streamed=call.streamed)
            return
        failure = attempt_error(last_event, call.operation, time.monotonic() - submitted_at)
        if writer.has_data or not is_retryable(last_event) or attempt >= limits.submit_attempts:
            raise failure
        logger.warning("attempt %d on %s failed: %s", attempt, stream.worker_id, failure.code)
        excluded_workers.append(stream.worker_id)
        writer.restart()
        deadlines.restart()


async def _submit(
    client: EngineClient,
    call: Call,
    exchange: Exchange,
    deadlines: Deadlines,
    attempt: int,
    excluded_workers: Sequence[str],
    failure: ApiError | None,
) -> Stream:
    """Submit an attempt. Raises ApiError: if no worker is left, the error of the previous attempt."""
    timed_call = replace(call, budget_s=deadlines.remaining_s())
    # Set first: a worker may receive and meter the attempt although the connection breaks at this moment.
    previous_attempt, exchange.last_attempt = exchange.last_attempt, LastAttempt(attempt)
    try:
        stream = await client.submit(timed_call, attempt=attempt, excluded_workers=excluded_workers)
    except NoWorkerError:
        exchange.last_attempt = previous_attempt
        if failure is not None:
            raise failure from None
        raise NoWorkerAvailable(headers=retry_after(NO_WORKER_RETRY_S)) from None
    except TransportError:
        raise RedisUnavailable() from None
    exchange.last_attempt.worker_id = stream.worker_id
    return stream


async def _follow(
    stream: Stream, writer: OutputWriter, exchange: Exchange, deadlines: Deadlines
) -> Finished | Failed | Lost:
    """Write events as they arrive, and return the attempt's last event. Raises ApiError on timeouts.

    Deltas that arrive together are written together: the busier the gateway, the fewer the writes.
    """
    while True:
        now = time.monotonic()
        events = await stream.next_events(deadlines.wait_s(now))
        now = time.monotonic()
        if not events:
            deadlines.check(now)
            if now >= deadlines.comment_at:
                await writer.comment()
                deadlines.record_comment(now)
            continue
        pieces, last_event = _partition(events, deadlines)
        if pieces:
            if exchange.first_token_s is None:
                exchange.first_token_s = now - exchange.arrived_at
            deadlines.record_token(now)
            await writer.data(pieces[0] if len(pieces) == 1 else b"".join(pieces))
            exchange.last_attempt.text_pieces += sum(map(_has_text, pieces))
        if last_event is not None:
            exchange.last_attempt.relayed_meter = None if isinstance(last_event, Lost) else last_event.meter
            return last_event


def _partition(
    events: Sequence[StreamEvent], deadlines: Deadlines
) -> tuple[list[bytes], Finished | Failed | Lost | None]:
    """Return the data of the deltas, and the last event of the attempt if it is among the events."""
    pieces: list[bytes] = []
    for event in events:
        if isinstance(event, Delta):
            pieces.append(event.data)
        elif isinstance(event, Accepted):
            deadlines.accept()
        else:
            return pieces, event
    return pieces, None


def _has_text(piece: bytes) -> bool:
    """Return whether a piece contains generated text, not only a role, a finish reason or usage."""
    return _TEXT.search(piece) is not None


async def _finish(last_event: Finished, writer: OutputWriter, *, is_streamed: bool) -> None:
    if is_streamed:
        await writer.finish()
    else:
        await writer.json(last_event.data)
