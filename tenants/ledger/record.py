"""What is known of a request as the columns of its usage record, and back."""

from __future__ import annotations

import datetime as dt
from typing import NamedTuple

import msgspec

from inference_worker.protocol.messages import Meter
from tenants.choices import MeterSource, RecordOutcome, RecordState
from tenants.ledger.fold import Audited, Counted, Known
from tenants.models import AuditRecord, UsageRecord

_NOTHING = Meter()
LOST_STATUS = 0


class _Charge(NamedTuple):
    source: MeterSource
    attempt: int | None
    worker_id: str
    meter: Counted | Meter


def _charge(known: Known) -> _Charge:
    """The count that is charged: the worker's for the attempt that the end names (before it is known,
    for the highest), else what came back to the gateway, else nothing.
    """
    named = known.attempt if known.has_ended else max(known.counted, default=None)
    counted = known.counted.get(named) if named is not None else None
    if counted is not None:
        return _Charge(MeterSource.WORKER, named, counted.worker_id, counted)
    if known.relayed is not None:
        return _Charge(MeterSource.GATEWAY, named, "", known.relayed)
    return _Charge(MeterSource.NONE, None, "", _NOTHING)


def _started_at(known: Known) -> dt.datetime:
    if known.started_at is not None:
        return known.started_at
    # Only workers have spoken so far: the earliest arrival at one stands in.
    earliest_s = min(counted.at - counted.total_s for counted in known.counted.values())
    return dt.datetime.fromtimestamp(earliest_s, dt.UTC)


def _ended_at(known: Known) -> dt.datetime | None:
    if not known.has_ended or known.duration_s is None or known.started_at is None:
        return None
    return known.started_at + dt.timedelta(seconds=known.duration_s)


def _outcome(known: Known) -> str:
    if known.outcome is not None:
        return known.outcome
    return RecordOutcome.LOST.value if known.settled_at else RecordOutcome.PENDING.value


def _status(known: Known) -> int | None:
    return LOST_STATUS if known.settled_at and not known.has_ended else known.status


def usage_columns(known: Known) -> dict[str, object]:
    """The columns of the usage record, ``updated_at`` aside."""
    charge = _charge(known)
    return {
        "request_id": known.request_id,
        "correlation_id": known.correlation_id,
        "tenant_id": known.tenant_id,
        "key_id": known.key_id,
        "gateway_id": known.gateway_id,
        "worker_id": charge.worker_id,
        "model": known.model,
        "endpoint": known.endpoint,
        "streamed": known.streamed,
        "state": (RecordState.SETTLED if known.settled_at else RecordState.OPEN).value,
        "outcome": _outcome(known),
        "status": _status(known),
        "error_code": known.error_code,
        "attempt": known.attempt,
        "metered_attempt": charge.attempt,
        "meter_source": charge.source.value,
        "prompt_tokens": charge.meter.prompt_tokens,
        "completion_tokens": charge.meter.completion_tokens,
        "cached_tokens": charge.meter.cached_tokens,
        "queue_s": charge.meter.queue_s,
        "first_token_s": known.first_token_s,
        "engine_first_token_s": charge.meter.first_token_s,
        "engine_total_s": (charge.meter.total_s or None) if charge.attempt else None,
        "total_s": known.duration_s,
        "attempts": {str(n): msgspec.to_builtins(known.counted[n]) for n in sorted(known.counted)},
        "started_at": _started_at(known),
        "ended_at": _ended_at(known),
        "settled_at": known.settled_at,
    }


def usage_known(row: UsageRecord) -> Known:
    """What the facts behind a usage record told."""
    has_ended = row.ended_at is not None
    relayed = None
    if row.meter_source == MeterSource.GATEWAY:
        relayed = Meter(
            prompt_tokens=row.prompt_tokens,
            completion_tokens=row.completion_tokens,
            cached_tokens=row.cached_tokens,
            queue_s=row.queue_s,
            first_token_s=row.engine_first_token_s,
            total_s=row.engine_total_s or 0.0,
        )
    return Known(
        request_id=row.request_id,
        correlation_id=row.correlation_id,
        admitted=True,
        tenant_id=row.tenant_id,
        key_id=row.key_id,
        gateway_id=row.gateway_id,
        model=row.model,
        endpoint=row.endpoint,
        streamed=row.streamed,
        started_at=row.started_at if row.gateway_id or has_ended else None,
        outcome=row.outcome if has_ended else None,
        status=row.status if has_ended else None,
        error_code=row.error_code,
        attempt=row.attempt,
        duration_s=row.total_s,
        first_token_s=row.first_token_s,
        relayed=relayed,
        counted={int(n): msgspec.convert(counted, Counted) for n, counted in row.attempts.items()},
        settled_at=row.settled_at,
    )


def audit_known(row: AuditRecord) -> Known:
    """What an audit record tells of a request that was not admitted, as far as was known."""
    return Known(
        request_id=row.request_id,
        correlation_id=row.correlation_id,
        tenant_id=row.tenant_id,
        key_id=row.key_id,
        model=row.model,
        endpoint=row.endpoint,
        started_at=row.at,
        outcome=row.outcome,
        status=row.status,
        error_code=row.error_code,
        attempt=0,
        duration_s=row.duration_s,
    )


def audit_of_lost(row: UsageRecord, *, key_prefix: str, now: dt.datetime) -> Audited:
    """The audit record of a request whose gateway died without a word; who called from where is lost."""
    return Audited(
        request_id=row.request_id,
        correlation_id=row.correlation_id,
        tenant_id=row.tenant_id,
        key_id=row.key_id,
        key_prefix=key_prefix,
        client_ip=None,
        method="",
        endpoint=row.endpoint,
        model=row.model,
        status=LOST_STATUS,
        outcome=RecordOutcome.LOST.value,
        error_code="",
        duration_s=max((now - row.started_at).total_seconds(), 0.0),
        at=row.started_at,
    )
