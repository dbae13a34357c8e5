"""Conversion between the state of a request and the columns of its usage and audit records."""

from __future__ import annotations

import datetime as dt
import uuid
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from inference_worker.protocol.messages import Meter, RequestEnded
from inference_worker.protocol.prices import Prices
from tenants.choices import MeterSource, RecordOutcome, RecordState
from tenants.ledger.column_values import (
    MAX_ERROR_CODE,
    MAX_NAME,
    address,
    column_text,
    optional_uuid,
    utc_time,
)
from tenants.ledger.request_state import AttemptMeter, RequestState
from tenants.models import AuditRecord, UsageRecord

_ZERO_METER = Meter()


class _Charge(NamedTuple):
    source: MeterSource
    attempt: int | None
    worker_id: str
    meter: AttemptMeter | Meter


def usage_columns(state: RequestState) -> dict[str, object]:
    """Return the columns of the usage record, except ``updated_at``."""
    return {
        "request_id": state.request_id,
        "correlation_id": state.correlation_id,
        "tenant_id": state.tenant_id,
        "key_id": state.key_id,
        "gateway_id": state.gateway_id,
        "model": state.model,
        "endpoint": state.endpoint,
        "streamed": state.streamed,
        "error_code": state.error_code,
        "attempt": state.attempt,
        "first_token_s": state.first_token_s,
        "total_s": state.duration_s,
        "settled_at": state.settled_at,
        "attempts": {str(n): msgspec.to_builtins(state.meters[n]) for n in sorted(state.meters)},
        **_outcome_columns(state),
        **_charge_columns(_charge(state)),
        **_cost_columns(state.prices, _charge(state).meter),
        "reserved_tokens": state.reserved_tokens,
        "reserved_microusd": state.reserved_microusd,
        "is_charged": _is_charged(state),
        "wasted_tokens": _wasted_tokens(state),
        "trained_tokens": 0,
        "training_price": 0,
    }


def _outcome_columns(state: RequestState) -> dict[str, object]:
    is_settled = state.settled_at is not None
    outcome: str = state.outcome or (RecordOutcome.LOST if is_settled else RecordOutcome.PENDING).value
    return {
        "state": (RecordState.SETTLED if is_settled else RecordState.OPEN).value,
        "outcome": outcome,
        "status": state.status,
        "started_at": _started_at(state),
        "ended_at": _ended_at(state),
    }


def _started_at(state: RequestState) -> dt.datetime:
    if state.started_at is not None:
        return state.started_at
    # Only workers have reported so far, so use the earliest arrival at a worker.
    return utc_time(min(meter.at - meter.total_s for meter in state.meters.values()))


def _ended_at(state: RequestState) -> dt.datetime | None:
    if not state.has_ended or state.duration_s is None or state.started_at is None:
        return None
    return state.started_at + dt.timedelta(seconds=state.duration_s)


def _charge(state: RequestState) -> _Charge:
    """Choose the meter that is charged: the worker's, else the gateway's count of relayed tokens, else zero.

    The worker's meter is that of the attempt in the end fact, or of the highest attempt before the end.
    """
    attempt = state.attempt if state.has_ended else max(state.meters, default=None)
    meter = state.meters.get(attempt) if attempt is not None else None
    if not _is_charged(state):
        return _Charge(
            MeterSource.NONE, attempt if meter else None, meter.worker_id if meter else "", _ZERO_METER
        )
    if meter is not None:
        return _Charge(MeterSource.WORKER, attempt, meter.worker_id, meter)
    if state.relayed is not None:
        return _Charge(MeterSource.GATEWAY, attempt, "", state.relayed)
    return _Charge(MeterSource.NONE, None, "", _ZERO_METER)


def _is_charged(state: RequestState) -> bool:
    """Return whether the request is charged. A plain response cut off by its gateway reached no client."""
    if state.has_ended or state.settled_at is None:
        return state.is_charged
    return state.streamed


def _wasted_tokens(state: RequestState) -> int:
    """Return the tokens of all metered attempts except the one that is charged."""
    charge = _charge(state)
    charged_attempt = charge.attempt if charge.source is MeterSource.WORKER else None
    return sum(
        meter.prompt_tokens + meter.completion_tokens
        for number, meter in state.meters.items()
        if number != charged_attempt and state.settled_at is not None
    )


def _charge_columns(charge: _Charge) -> dict[str, object]:
    return {
        "worker_id": charge.worker_id,
        "metered_attempt": charge.attempt,
        "meter_source": charge.source.value,
        "prompt_tokens": charge.meter.prompt_tokens,
        "completion_tokens": charge.meter.completion_tokens,
        "cached_tokens": charge.meter.cached_tokens,
        "queue_s": charge.meter.queue_s,
        "engine_first_token_s": charge.meter.first_token_s,
        "engine_total_s": (charge.meter.total_s or None) if charge.attempt else None,
    }


def _cost_columns(prices: Prices, meter: AttemptMeter | Meter) -> dict[str, object]:
    """Return the prices and the cost of the charged meter, which is zero if nothing is charged."""
    return {
        "prompt_price": prices.prompt,
        "cached_price": prices.cached,
        "completion_price": prices.completion,
        "cost_microusd": prices.cost_microusd(
            meter.prompt_tokens, meter.cached_tokens, meter.completion_tokens
        ),
    }


def state_of_usage(record: UsageRecord) -> RequestState:
    """Restore the state from which a usage record was made."""
    has_ended = record.ended_at is not None
    return RequestState(
        request_id=record.request_id,
        correlation_id=record.correlation_id,
        is_admitted=True,
        tenant_id=record.tenant_id,
        key_id=record.key_id,
        gateway_id=record.gateway_id,
        model=record.model,
        endpoint=record.endpoint,
        streamed=record.streamed,
        started_at=record.started_at if record.gateway_id or has_ended else None,
        prices=Prices(
            prompt=record.prompt_price, cached=record.cached_price, completion=record.completion_price
        ),
        reserved_tokens=record.reserved_tokens,
        reserved_microusd=record.reserved_microusd,
        outcome=record.outcome if has_ended else None,
        status=record.status if has_ended else None,
        error_code=record.error_code,
        attempt=record.attempt,
        duration_s=record.total_s,
        first_token_s=record.first_token_s,
        relayed=_relayed_meter(record) if record.meter_source == MeterSource.GATEWAY else None,
        is_charged=record.is_charged or not has_ended,
        meters={int(n): msgspec.convert(meter, AttemptMeter) for n, meter in record.attempts.items()},
        settled_at=record.settled_at,
    )


def _relayed_meter(record: UsageRecord) -> Meter:
    return Meter(
        prompt_tokens=record.prompt_tokens,
        completion_tokens=record.completion_tokens,
        cached_tokens=record.cached_tokens,
        queue_s=record.queue_s,
        first_token_s=record.engine_first_token_s,
        total_s=record.engine_total_s or 0.0,
    )


def state_of_audit(record: AuditRecord) -> RequestState:
    """Restore the state of a request without a usage record from its audit record."""
    return RequestState(
        request_id=record.request_id,
        correlation_id=record.correlation_id,
        tenant_id=record.tenant_id,
        key_id=record.key_id,
        model=record.model,
        endpoint=record.endpoint,
        started_at=record.at,
        outcome=record.outcome,
        status=record.status,
        error_code=record.error_code,
        attempt=0,
        duration_s=record.duration_s,
    )


@dataclass(frozen=True, slots=True)
class AuditColumns:
    """The columns of an audit record."""

    request_id: str
    correlation_id: str
    tenant_id: uuid.UUID | None
    key_id: uuid.UUID | None
    key_prefix: str
    client_ip: str | None
    method: str
    requested_model: str
    error_param: str
    endpoint: str
    model: str
    status: int | None
    outcome: str
    error_code: str
    duration_s: float
    at: dt.datetime


def audit_columns(fact: RequestEnded) -> AuditColumns:
    """Return the audit record of a request that has ended."""
    return AuditColumns(
        request_id=fact.request_id,
        correlation_id=column_text(fact.correlation_id, MAX_NAME),
        tenant_id=optional_uuid(fact.tenant_id),
        key_id=optional_uuid(fact.key_id),
        key_prefix=column_text(fact.key_prefix, 12),
        client_ip=address(fact.client_ip),
        method=column_text(fact.method, 16),
        requested_model=column_text(fact.requested_model, MAX_NAME),
        error_param=column_text(fact.error_param, MAX_NAME),
        endpoint=column_text(fact.endpoint, MAX_NAME),
        model=column_text(fact.model, MAX_NAME),
        status=fact.status,
        outcome=fact.outcome.value,
        error_code=column_text(fact.error_code, MAX_ERROR_CODE),
        duration_s=fact.duration_s,
        at=utc_time(fact.started_at),
    )


def lost_audit_columns(record: UsageRecord, *, key_prefix: str, now: dt.datetime) -> AuditColumns:
    """Return the audit record of a request whose gateway died; what it sent is unknown."""
    return AuditColumns(
        request_id=record.request_id,
        correlation_id=record.correlation_id,
        tenant_id=record.tenant_id,
        key_id=record.key_id,
        key_prefix=key_prefix,
        client_ip=None,
        method="",
        requested_model="",
        error_param="",
        endpoint=record.endpoint,
        model=record.model,
        status=record.status,
        outcome=RecordOutcome.LOST.value,
        error_code="",
        duration_s=max((now - record.started_at).total_seconds(), 0.0),
        at=record.started_at,
    )
