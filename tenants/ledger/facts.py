"""Reads facts from bytes and refuses what could not be stored, before it can stop a batch."""

from __future__ import annotations

import math
import uuid

from inference_worker.protocol import codec
from inference_worker.protocol.codec import ProtocolError
from inference_worker.protocol.messages import AttemptMetered, Fact, Meter, RequestEnded, RequestStarted

MAX_COUNT = 2**31 - 1
MAX_ATTEMPT = 2**15 - 1
MAX_UNIX_S = 4_102_444_800.0  # the year 2100
MAX_ID = 64


def fact_read(data: bytes) -> Fact:
    """The fact in ``data``. Raises ProtocolError: no fact, or a value that no record can hold."""
    fact = codec.decode_fact(data)
    _check_id("request_id", fact.request_id)
    match fact:
        case RequestStarted():
            _check_id("gateway_id", fact.gateway_id)
            _check_uuids(fact.tenant_id, fact.key_id)
            _check_seconds("started_at", fact.started_at)
        case AttemptMetered():
            _check_attempt(fact.attempt, least=1)
            _check_seconds("at", fact.at)
            _check_meter(fact.meter)
        case RequestEnded():
            _check_id("gateway_id", fact.gateway_id)
            _check_uuids(fact.tenant_id, fact.key_id)
            _check_attempt(fact.attempt, least=0)
            _check_count("status", fact.status, 999)
            _check_seconds("started_at", fact.started_at)
            _check_seconds("duration_s", fact.duration_s)
            _check_seconds("first_token_s", fact.first_token_s)
            if fact.relayed is not None:
                _check_meter(fact.relayed)
    return fact


def _check_id(name: str, value: str) -> None:
    if not 0 < len(value) <= MAX_ID or "\x00" in value:
        raise ProtocolError(f"{name} must have 1 to {MAX_ID} characters, none of them NUL")


def _check_uuids(*texts: str | None) -> None:
    for text in texts:
        try:
            if text is not None:
                uuid.UUID(text)
        except ValueError as error:
            raise ProtocolError("tenant_id and key_id must be UUIDs") from error


def _check_attempt(attempt: int, *, least: int) -> None:
    if not least <= attempt <= MAX_ATTEMPT:
        raise ProtocolError(f"attempt must lie between {least} and {MAX_ATTEMPT}")


def _check_count(name: str, value: int, most: int = MAX_COUNT) -> None:
    if not 0 <= value <= most:
        raise ProtocolError(f"{name} must lie between 0 and {most}")


def _check_seconds(name: str, value: float | None) -> None:
    # A clock that was set back gives a negative time: odd, but no reason to lose the count beside it.
    if value is not None and not (math.isfinite(value) and abs(value) <= MAX_UNIX_S):
        raise ProtocolError(f"{name} must be a finite number of seconds")


def _check_meter(meter: Meter) -> None:
    _check_count("prompt_tokens", meter.prompt_tokens)
    _check_count("completion_tokens", meter.completion_tokens)
    _check_count("cached_tokens", meter.cached_tokens)
    _check_seconds("queue_s", meter.queue_s)
    _check_seconds("first_token_s", meter.first_token_s)
    _check_seconds("total_s", meter.total_s)
