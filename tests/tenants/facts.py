"""Factories of facts, and a writer to the stream of facts."""

from __future__ import annotations

import msgspec
import redis

from inference_worker.protocol import codec, names
from inference_worker.protocol.messages import (
    AttemptMetered,
    Fact,
    Meter,
    Outcome,
    RequestEnded,
    RequestsRefused,
    RequestStarted,
)
from inference_worker.protocol.prices import FREE, Prices

STARTED_AT = 1_750_000_000.0
TENANT_ID = "6a4bd2f0-1111-4222-8333-444455556666"
KEY_ID = "6a4bd2f0-7777-4888-9999-aaaabbbbcccc"


def start_fact(
    request_id: str = "r1",
    *,
    tenant_id: str = TENANT_ID,
    key_id: str = KEY_ID,
    gateway_id: str = "gw-1",
    prices: Prices = FREE,
) -> RequestStarted:
    """Return the fact that a gateway admitted the request."""
    return RequestStarted(
        request_id=request_id,
        correlation_id=f"c-{request_id}",
        gateway_id=gateway_id,
        tenant_id=tenant_id,
        key_id=key_id,
        model="smollm2",
        endpoint="/v1/chat/completions",
        streamed=True,
        started_at=STARTED_AT,
        prices=prices,
    )


def read_start_fact(request_id: str = "r1") -> RequestStarted:
    """Return the fact that a gateway is about to send a stream to a reader."""
    return msgspec.structs.replace(start_fact(request_id), model="", endpoint="/v1/streams/{id}")


def meter_fact(
    request_id: str = "r1", attempt: int = 1, tokens: int = 7, outcome: Outcome = Outcome.COMPLETED
) -> AttemptMetered:
    """Return a worker's meter of an attempt."""
    return AttemptMetered(
        request_id=request_id,
        attempt=attempt,
        worker_id=f"w-{attempt}",
        outcome=outcome,
        meter=Meter(
            prompt_tokens=11,
            completion_tokens=tokens,
            cached_tokens=3,
            queue_s=0.01,
            first_token_s=0.1,
            total_s=0.7,
        ),
        at=STARTED_AT + 0.9,
    )


def end_fact(
    request_id: str = "r1",
    *,
    attempt: int = 1,
    relayed: Meter | None = None,
    outcome: Outcome = Outcome.COMPLETED,
    status: int = 200,
    tenant_id: str | None = TENANT_ID,
    key_id: str | None = KEY_ID,
    error_code: str | None = None,
    model: str | None = "smollm2",
    correlation_id: str | None = None,
) -> RequestEnded:
    """Return the fact that the request ended at its gateway."""
    return RequestEnded(
        request_id=request_id,
        correlation_id=correlation_id or f"c-{request_id}",
        gateway_id="gw-1",
        tenant_id=tenant_id,
        key_id=key_id,
        key_prefix="abcdefghijkl" if key_id else None,
        client_ip="192.0.2.7",
        method="POST",
        endpoint="/v1/chat/completions",
        model=model,
        streamed=True,
        status=status,
        outcome=outcome,
        error_code=error_code,
        attempt=attempt,
        worker_id=f"w-{attempt}" if attempt else None,
        relayed=relayed,
        started_at=STARTED_AT,
        duration_s=1.25,
        first_token_s=0.2,
    )


def write_facts(client: redis.Redis, *facts: Fact) -> None:
    """Add facts to the stream."""
    for fact in facts:
        client.xadd(names.FACTS_STREAM, {names.FACTS_FIELD: codec.encode(fact)})


def refused_fact(fact_id: str = "f1", *, requests: int = 7, key_id: str | None = KEY_ID) -> RequestsRefused:
    """Return the count of requests that a gateway refused alike within a minute."""
    return RequestsRefused(
        fact_id=fact_id,
        gateway_id="gw-1",
        minute_at=int(STARTED_AT),
        tenant_id=TENANT_ID if key_id else None,
        key_id=key_id,
        key_prefix="abcdefghijkl" if key_id else None,
        client_network="192.0.2.0/24",
        endpoint="/v1/chat/completions",
        error_code="rate_limit_exceeded",
        status=429,
        requests=requests,
    )
