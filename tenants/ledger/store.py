"""Storage of facts in usage and audit records; storing a fact again changes nothing."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, fields, replace

from django.db import connection, transaction
from django.db.models import Q

from inference_worker.protocol.messages import Fact, RequestEnded, RequestStarted
from tenants.choices import RecordOutcome
from tenants.ledger.columns import (
    AuditColumns,
    audit_columns,
    state_of_audit,
    state_of_usage,
    usage_columns,
)
from tenants.ledger.request_state import RequestState, fact_merge
from tenants.ledger.values import utc_time
from tenants.models import ApiKey, AuditRecord, UsageRecord

_LOCK = 0x63796C6C
_LAST_USED_STEP = dt.timedelta(seconds=60)
_USAGE_FIELDS = [
    field.attname for field in UsageRecord._meta.concrete_fields if field.name not in {"id", "request_id"}
]
_AUDIT_FIELDS = [field.name for field in fields(AuditColumns) if field.name != "request_id"]


@transaction.atomic
def facts_store(facts: Sequence[Fact], *, now: dt.datetime) -> None:
    """Merge ``facts`` into usage and audit records, in one transaction."""
    ledger_lock()
    stored_states = _load_states({fact.request_id for fact in facts})
    states = dict(stored_states)
    for fact in facts:
        state = states.get(fact.request_id) or RequestState(fact.request_id)
        states[fact.request_id] = fact_merge(state, fact)
    changes = [state for request_id, state in states.items() if state != stored_states.get(request_id)]
    usage_save((_settle(state, now) for state in changes if state.is_admitted), now=now)
    _audit_ends([fact for fact in facts if isinstance(fact, RequestEnded)])
    _update_last_use([fact for fact in facts if isinstance(fact, RequestStarted)])


def ledger_lock() -> None:
    """Take the ledger's lock until the end of the transaction.

    Row locks cannot keep two drains from inserting the same record. This lock does, and queries after it
    see everything that its previous holder committed.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])


def usage_save(states: Iterable[RequestState], *, now: dt.datetime) -> None:
    """Insert or overwrite the usage records of ``states``. The caller holds the ledger's lock."""
    records = [UsageRecord(**usage_columns(state), updated_at=now) for state in states]
    UsageRecord.objects.bulk_create(
        records, update_conflicts=True, unique_fields=["request_id"], update_fields=_USAGE_FIELDS
    )


def audit_save(records: Collection[AuditColumns]) -> None:
    """Insert or overwrite audit records. The caller holds the ledger's lock."""
    AuditRecord.objects.bulk_create(
        [AuditRecord(**asdict(record)) for record in records],
        update_conflicts=True,
        unique_fields=["request_id"],
        update_fields=_AUDIT_FIELDS,
    )


def _load_states(request_ids: set[str]) -> dict[str, RequestState]:
    usage_records = UsageRecord.objects.filter(request_id__in=request_ids)
    states = {record.request_id: state_of_usage(record) for record in usage_records}
    # An end that overtook its start has left only an audit record.
    for record in AuditRecord.objects.filter(request_id__in=request_ids - states.keys()):
        states[record.request_id] = state_of_audit(record)
    return states


def _settle(state: RequestState, now: dt.datetime) -> RequestState:
    if state.is_complete and state.settled_at is None:
        return replace(state, settled_at=now)
    return state


def _audit_ends(ends: Sequence[RequestEnded]) -> None:
    """Write an audit record for each end; of earlier records, only the sweep's ``lost`` ones are replaced."""
    final_ids = set(
        AuditRecord.objects.filter(request_id__in=[end.request_id for end in ends])
        .exclude(outcome=RecordOutcome.LOST)
        .values_list("request_id", flat=True)
    )
    # Reversed, so that the first of several ends of one request wins.
    new_ends = [end for end in reversed(ends) if end.request_id not in final_ids]
    audit_save(list({end.request_id: audit_columns(end) for end in new_ends}.values()))


def _update_last_use(starts: Sequence[RequestStarted]) -> None:
    """Record when keys were last used, at most once a minute per key to limit the writes."""
    last_use: dict[str, float] = {}
    for start in starts:
        last_use[start.key_id] = max(start.started_at, last_use.get(start.key_id, 0.0))
    for key_id in sorted(last_use):
        used_at = utc_time(last_use[key_id])
        ApiKey.objects.filter(
            Q(last_used_at=None) | Q(last_used_at__lt=used_at - _LAST_USED_STEP), id=uuid.UUID(key_id)
        ).update(last_used_at=used_at)
