"""State of a request, merged from its facts; their order and repetition make no difference.

The protocol promises one start and one end per request and one meter per attempt, any of them possibly
delivered more than once. Hence an end overrides a start, the first of several equal facts wins, and a
record's columns depend on the complete state, never on the order of arrival.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import msgspec

from inference_worker.protocol.messages import (
    AttemptMetered,
    Meter,
    RequestEnded,
    RequestFact,
    RequestStarted,
)
from inference_worker.protocol.prices import FREE, Prices
from tenants.ledger.column_values import (
    MAX_ERROR_CODE,
    MAX_ID,
    MAX_NAME,
    column_text,
    optional_uuid,
    utc_time,
)


class AttemptMeter(msgspec.Struct, frozen=True, kw_only=True):
    """A worker's meter of one attempt, as a usage record stores it."""

    worker_id: str
    outcome: str
    at: float
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    queue_s: float | None
    first_token_s: float | None
    total_s: float


@dataclass(frozen=True, slots=True)
class RequestState:
    """One request, as described by all facts about it so far.

    ``is_admitted``: the request gets a usage record. ``outcome`` and ``status`` are None until it ends.
    ``settled_at`` never changes once set, even if the ledger gave up waiting and more facts arrive.
    """

    request_id: str
    correlation_id: str = ""
    is_admitted: bool = False
    tenant_id: uuid.UUID | None = None
    key_id: uuid.UUID | None = None
    gateway_id: str = ""
    model: str = ""
    endpoint: str = ""
    streamed: bool = False
    started_at: dt.datetime | None = None
    prices: Prices = FREE
    reserved_tokens: int = 0
    reserved_microusd: int = 0
    outcome: str | None = None
    status: int | None = None
    error_code: str = ""
    attempt: int | None = None
    duration_s: float | None = None
    first_token_s: float | None = None
    relayed: Meter | None = None
    is_charged: bool = True
    meters: Mapping[int, AttemptMeter] = field(default_factory=dict)
    settled_at: dt.datetime | None = None

    @property
    def has_ended(self) -> bool:
        """True once the gateway has reported the end."""
        return self.outcome is not None

    @property
    def is_read(self) -> bool:
        """True for a reader of a stream, which announced its start but uses no model."""
        return not (self.model or self.meters or self.attempt)

    @property
    def is_complete(self) -> bool:
        """True when no more facts are due: the request ended and its last attempt, if any, is metered."""
        return self.has_ended and (self.attempt == 0 or self.attempt in self.meters)


@dataclass(frozen=True, slots=True)
class StateChange:
    """A change of a request's state by facts; ``earlier`` is None if the ledger knew nothing of it."""

    earlier: RequestState | None
    state: RequestState


def fact_merge(state: RequestState, fact: RequestFact) -> RequestState:
    """Return ``state`` with ``fact`` merged into it."""
    match fact:
        case RequestStarted():
            return _merge_start(state, fact)
        case AttemptMetered():
            return _merge_meter(state, fact)
        case RequestEnded():
            return state if state.has_ended else _merge_end(state, fact)


def _merge_start(state: RequestState, fact: RequestStarted) -> RequestState:
    return replace(
        state,
        is_admitted=True,
        correlation_id=state.correlation_id or column_text(fact.correlation_id, MAX_NAME),
        tenant_id=state.tenant_id or uuid.UUID(fact.tenant_id),
        key_id=state.key_id or uuid.UUID(fact.key_id),
        gateway_id=state.gateway_id or column_text(fact.gateway_id, MAX_ID),
        model=state.model or column_text(fact.model, MAX_NAME),
        endpoint=state.endpoint or column_text(fact.endpoint, MAX_NAME),
        streamed=state.streamed or fact.streamed,
        started_at=state.started_at or utc_time(fact.started_at),
        prices=fact.prices if state.prices == FREE else state.prices,
        reserved_tokens=state.reserved_tokens or fact.reserved_tokens,
        reserved_microusd=state.reserved_microusd or fact.reserved_microusd,
    )


def _merge_meter(state: RequestState, fact: AttemptMetered) -> RequestState:
    if fact.attempt in state.meters:
        return state
    meter = AttemptMeter(
        worker_id=column_text(fact.worker_id, MAX_ID),
        outcome=fact.outcome.value,
        at=fact.at,
        prompt_tokens=fact.meter.prompt_tokens,
        completion_tokens=fact.meter.completion_tokens,
        cached_tokens=fact.meter.cached_tokens,
        queue_s=fact.meter.queue_s,
        first_token_s=fact.meter.first_token_s,
        total_s=fact.meter.total_s,
    )
    return replace(state, is_admitted=True, meters={**state.meters, fact.attempt: meter})


def _merge_end(state: RequestState, fact: RequestEnded) -> RequestState:
    return replace(
        state,
        is_admitted=state.is_admitted or fact.attempt > 0,
        correlation_id=column_text(fact.correlation_id, MAX_NAME) or state.correlation_id,
        tenant_id=optional_uuid(fact.tenant_id) or state.tenant_id,
        key_id=optional_uuid(fact.key_id) or state.key_id,
        gateway_id=column_text(fact.gateway_id, MAX_ID) or state.gateway_id,
        model=column_text(fact.model, MAX_NAME) or state.model,
        endpoint=column_text(fact.endpoint, MAX_NAME) or state.endpoint,
        streamed=fact.streamed or state.streamed,
        started_at=utc_time(fact.started_at),
        outcome=fact.outcome.value,
        status=fact.status,
        error_code=column_text(fact.error_code, MAX_ERROR_CODE),
        attempt=fact.attempt,
        duration_s=fact.duration_s,
        first_token_s=fact.first_token_s,
        relayed=fact.relayed,
        is_charged=fact.is_charged,
    )
