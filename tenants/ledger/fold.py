"""Folds facts into what is known of a request; in any order, any number of times, the same comes out.

The protocol promises one start and one end for a request and one count for an attempt, each perhaps
delivered again. On this rests the rest: an end overrides a start, the first of equals stays, and the
columns of a record are computed from the whole of what is known, never from what arrived last.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import msgspec

from inference_worker.protocol.messages import AttemptMetered, Fact, Meter, RequestEnded, RequestStarted

LONGEST_NAME = 200
LONGEST_ID = 128


class Counted(msgspec.Struct, frozen=True, kw_only=True):
    """A worker's count of one attempt, as kept in a record."""

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
class Known:
    """What the facts so far tell about one request.

    ``admitted``: it is to have a usage record. ``outcome`` and ``status`` are None until it has ended.
    ``settled_at`` once set stays, also where the ledger gave up waiting and later facts add to it.
    """

    request_id: str
    correlation_id: str = ""
    admitted: bool = False
    tenant_id: uuid.UUID | None = None
    key_id: uuid.UUID | None = None
    gateway_id: str = ""
    model: str = ""
    endpoint: str = ""
    streamed: bool = False
    started_at: dt.datetime | None = None
    outcome: str | None = None
    status: int | None = None
    error_code: str = ""
    attempt: int | None = None
    duration_s: float | None = None
    first_token_s: float | None = None
    relayed: Meter | None = None
    counted: Mapping[int, Counted] = field(default_factory=dict)
    settled_at: dt.datetime | None = None

    @property
    def has_ended(self) -> bool:
        """Whether the gateway has said how it ended."""
        return self.outcome is not None

    @property
    def is_complete(self) -> bool:
        """Whether nothing more is to come: ended, and counted if there was anything to count."""
        return self.has_ended and (self.attempt == 0 or self.attempt in self.counted)


@dataclass(frozen=True, slots=True)
class Audited:
    """The columns of an audit record that a request's end gives."""

    request_id: str
    correlation_id: str
    tenant_id: uuid.UUID | None
    key_id: uuid.UUID | None
    key_prefix: str
    client_ip: str | None
    method: str
    endpoint: str
    model: str
    status: int
    outcome: str
    error_code: str
    duration_s: float
    at: dt.datetime


def fact_fold(known: Known, fact: Fact) -> Known:
    """What is known once ``fact`` is known as well."""
    match fact:
        case RequestStarted():
            return _fold_started(known, fact)
        case AttemptMetered():
            return _fold_metered(known, fact)
        case RequestEnded():
            return _fold_ended(known, fact)


def _fold_started(known: Known, fact: RequestStarted) -> Known:
    return replace(
        known,
        admitted=True,
        correlation_id=known.correlation_id or _text(fact.correlation_id, LONGEST_NAME),
        tenant_id=known.tenant_id or uuid.UUID(fact.tenant_id),
        key_id=known.key_id or uuid.UUID(fact.key_id),
        gateway_id=known.gateway_id or _text(fact.gateway_id, LONGEST_ID),
        model=known.model or _text(fact.model, LONGEST_NAME),
        endpoint=known.endpoint or _text(fact.endpoint, LONGEST_NAME),
        streamed=known.streamed or fact.streamed,
        started_at=known.started_at or _moment(fact.started_at),
    )


def _fold_metered(known: Known, fact: AttemptMetered) -> Known:
    if fact.attempt in known.counted:
        return known
    meter = fact.meter
    counted = Counted(
        worker_id=_text(fact.worker_id, LONGEST_ID),
        outcome=fact.outcome.value,
        at=fact.at,
        prompt_tokens=meter.prompt_tokens,
        completion_tokens=meter.completion_tokens,
        cached_tokens=meter.cached_tokens,
        queue_s=meter.queue_s,
        first_token_s=meter.first_token_s,
        total_s=meter.total_s,
    )
    return replace(known, admitted=True, counted={**known.counted, fact.attempt: counted})


def _fold_ended(known: Known, fact: RequestEnded) -> Known:
    if known.has_ended:
        return known
    return replace(
        known,
        admitted=known.admitted or fact.attempt > 0,
        correlation_id=_text(fact.correlation_id, LONGEST_NAME) or known.correlation_id,
        tenant_id=_uuid(fact.tenant_id) or known.tenant_id,
        key_id=_uuid(fact.key_id) or known.key_id,
        gateway_id=_text(fact.gateway_id, LONGEST_ID) or known.gateway_id,
        model=_text(fact.model, LONGEST_NAME) or known.model,
        endpoint=_text(fact.endpoint, LONGEST_NAME) or known.endpoint,
        streamed=fact.streamed or known.streamed,
        started_at=_moment(fact.started_at),
        outcome=fact.outcome.value,
        status=fact.status,
        error_code=_text(fact.error_code, 100),
        attempt=fact.attempt,
        duration_s=fact.duration_s,
        first_token_s=fact.first_token_s,
        relayed=fact.relayed,
    )


def audit_of(fact: RequestEnded) -> Audited:
    """The audit record of a request that has ended."""
    return Audited(
        request_id=fact.request_id,
        correlation_id=_text(fact.correlation_id, LONGEST_NAME),
        tenant_id=_uuid(fact.tenant_id),
        key_id=_uuid(fact.key_id),
        key_prefix=_text(fact.key_prefix, 12),
        client_ip=_address(fact.client_ip),
        method=_text(fact.method, 16),
        endpoint=_text(fact.endpoint, LONGEST_NAME),
        model=_text(fact.model, LONGEST_NAME),
        status=fact.status,
        outcome=fact.outcome.value,
        error_code=_text(fact.error_code, 100),
        duration_s=fact.duration_s,
        at=_moment(fact.started_at),
    )


def _text(value: str | None, limit: int) -> str:
    # PostgreSQL's text can't hold NUL, and some of these come from the client as they are.
    return (value or "").replace("\x00", "\N{REPLACEMENT CHARACTER}")[:limit]


def _uuid(value: str | None) -> uuid.UUID | None:
    return uuid.UUID(value) if value is not None else None


def _moment(unix_s: float) -> dt.datetime:
    return dt.datetime.fromtimestamp(unix_s, dt.UTC)


def _address(value: str) -> str | None:
    try:
        # PostgreSQL's inet has no zone after the address.
        return str(ipaddress.ip_address(value.partition("%")[0]))
    except ValueError:
        return None
