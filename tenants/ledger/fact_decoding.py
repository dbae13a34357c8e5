"""Decoding and validation of facts, so that one bad fact cannot block a batch."""

from __future__ import annotations

import math
import uuid

from inference_worker.protocol import codec
from inference_worker.protocol.codec import ProtocolError
from inference_worker.protocol.messages import (
    AttemptMetered,
    Fact,
    Meter,
    RequestEnded,
    RequestsRefused,
    RequestStarted,
)
from inference_worker.protocol.prices import MAX_PRICE, Prices

MAX_COUNT = 2**31 - 1
MAX_ATTEMPT = 2**15 - 1
MAX_UNIX_S = 4_102_444_800.0  # the year 2100
MAX_ID = 64
MAX_RESERVED = 2**63 - 1


def fact_decode(data: bytes) -> Fact:
    """Decode a fact. Raises ProtocolError if it is malformed or has a value that no record can hold."""
    fact = codec.decode_fact(data)
    _check_id("fact_id" if isinstance(fact, RequestsRefused) else "request_id", fact_name(fact))
    match fact:
        case RequestStarted():
            _check_origin(fact)
            _check_prices(fact.prices)
            _check_count("reserved_tokens", fact.reserved_tokens, MAX_RESERVED)
            _check_count("reserved_microusd", fact.reserved_microusd, MAX_RESERVED)
        case AttemptMetered():
            _check_attempt(fact.attempt, minimum=1)
            _check_seconds("at", fact.at)
            _check_meter(fact.meter)
        case RequestEnded():
            _check_origin(fact)
            _check_end(fact)
        case RequestsRefused():
            _check_refusals(fact)
    return fact


def fact_name(fact: Fact) -> str:
    """Return the id of the request that a fact is about, or the fact's own id if it is about many."""
    return fact.fact_id if isinstance(fact, RequestsRefused) else fact.request_id


def _check_origin(fact: RequestStarted | RequestEnded) -> None:
    _check_id("gateway_id", fact.gateway_id)
    _check_uuids(fact.tenant_id, fact.key_id)
    _check_seconds("started_at", fact.started_at)


def _check_prices(prices: Prices) -> None:
    _check_count("prices.prompt", prices.prompt, MAX_PRICE)
    _check_count("prices.cached", prices.cached, MAX_PRICE)
    _check_count("prices.completion", prices.completion, MAX_PRICE)


def _check_end(fact: RequestEnded) -> None:
    _check_attempt(fact.attempt, minimum=0)
    _check_count("status", fact.status, 999)
    _check_seconds("duration_s", fact.duration_s)
    _check_seconds("first_token_s", fact.first_token_s)
    if fact.relayed is not None:
        _check_meter(fact.relayed)


def _check_refusals(fact: RequestsRefused) -> None:
    _check_id("gateway_id", fact.gateway_id)
    _check_uuids(fact.tenant_id, fact.key_id)
    _check_seconds("minute_at", fact.minute_at)
    _check_count("status", fact.status, 999)
    _check_count("requests", fact.requests)


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


def _check_attempt(attempt: int, *, minimum: int) -> None:
    if not minimum <= attempt <= MAX_ATTEMPT:
        raise ProtocolError(f"attempt must lie between {minimum} and {MAX_ATTEMPT}")


def _check_count(name: str, value: int, maximum: int = MAX_COUNT) -> None:
    if not 0 <= value <= maximum:
        raise ProtocolError(f"{name} must lie between 0 and {maximum}")


def _check_seconds(name: str, value: float | None) -> None:
    # Negative times pass: a clock that was set back is no reason to lose the token counts.
    if value is not None and not (math.isfinite(value) and abs(value) <= MAX_UNIX_S):
        raise ProtocolError(f"{name} must be a finite number of seconds")


def _check_meter(meter: Meter) -> None:
    _check_count("prompt_tokens", meter.prompt_tokens)
    _check_count("completion_tokens", meter.completion_tokens)
    _check_count("cached_tokens", meter.cached_tokens)
    _check_seconds("queue_s", meter.queue_s)
    _check_seconds("first_token_s", meter.first_token_s)
    _check_seconds("total_s", meter.total_s)
