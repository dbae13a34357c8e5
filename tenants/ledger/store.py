"""Writes what facts tell to the database: each batch one transaction, twice the same as once."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, fields, replace

from django.db import connection, transaction
from django.db.models import Q

from inference_worker.protocol.messages import Fact, RequestEnded, RequestStarted
from tenants.choices import RecordOutcome
from tenants.ledger.fold import Audited, Known, audit_of, fact_fold
from tenants.ledger.record import audit_known, usage_columns, usage_known
from tenants.models import ApiKey, AuditRecord, UsageRecord

_LOCK = 0x63796C6C
_LAST_USED_STEP = dt.timedelta(seconds=60)
_USAGE_UPDATED = [
    field.attname for field in UsageRecord._meta.concrete_fields if field.name not in {"id", "request_id"}
]
_AUDIT_UPDATED = [field.name for field in fields(Audited) if field.name != "request_id"]


def ledger_lock() -> None:
    """Wait for the ledger's lock and hold it until the end of the transaction.

    Locks on rows can't keep two drains from both making a record that is not there yet; this does, and
    what is read after it is what the other has committed.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])


@transaction.atomic
def facts_store(facts: Sequence[Fact], *, now: dt.datetime) -> None:
    """Fold ``facts`` into usage and audit records."""
    ledger_lock()
    request_ids = {fact.request_id for fact in facts}
    before = _known(request_ids)
    known = dict(before)
    for fact in facts:
        found = known.get(fact.request_id) or Known(fact.request_id)
        known[fact.request_id] = fact_fold(found, fact)
    changed = [entry for request_id, entry in known.items() if entry != before.get(request_id)]
    usage_save((_settled(entry, now) for entry in changed if entry.admitted), now=now)
    _ends_audit([fact for fact in facts if isinstance(fact, RequestEnded)])
    _keys_used(facts)


def usage_save(entries: Iterable[Known], *, now: dt.datetime) -> None:
    """Insert or overwrite the usage records of ``entries``. The caller holds the ledger's lock."""
    rows = [UsageRecord(**usage_columns(entry), updated_at=now) for entry in entries]
    UsageRecord.objects.bulk_create(
        rows, update_conflicts=True, unique_fields=["request_id"], update_fields=_USAGE_UPDATED
    )


def audit_save(records: Collection[Audited]) -> None:
    """Insert or overwrite audit records. The caller holds the ledger's lock."""
    AuditRecord.objects.bulk_create(
        [AuditRecord(**asdict(record)) for record in records],
        update_conflicts=True,
        unique_fields=["request_id"],
        update_fields=_AUDIT_UPDATED,
    )


def _known(request_ids: set[str]) -> dict[str, Known]:
    known = {
        row.request_id: usage_known(row) for row in UsageRecord.objects.filter(request_id__in=request_ids)
    }
    # The end of a request can overtake its start; it has left an audit record and nothing else then.
    rest = request_ids - known.keys()
    for row in AuditRecord.objects.filter(request_id__in=rest):
        known[row.request_id] = audit_known(row)
    return known


def _settled(entry: Known, now: dt.datetime) -> Known:
    if entry.is_complete and entry.settled_at is None:
        return replace(entry, settled_at=now)
    return entry


def _ends_audit(ends: Sequence[RequestEnded]) -> None:
    """An audit record for each end. Only one that the sweep made for a lost request is overwritten."""
    final = set(
        AuditRecord.objects.filter(request_id__in=[end.request_id for end in ends])
        .exclude(outcome=RecordOutcome.LOST)
        .values_list("request_id", flat=True)
    )
    # Reversed, so that of several ends of one request in a batch the first stays.
    records = {end.request_id: audit_of(end) for end in reversed(ends) if end.request_id not in final}
    audit_save(list(records.values()))


def _keys_used(facts: Sequence[Fact]) -> None:
    """Note when keys were last used, to the minute: a write for each request would be too much."""
    used: dict[str, float] = {}
    for fact in facts:
        if isinstance(fact, RequestStarted):
            used[fact.key_id] = max(fact.started_at, used.get(fact.key_id, 0.0))
    for key_id in sorted(used):
        moment = dt.datetime.fromtimestamp(used[key_id], dt.UTC)
        ApiKey.objects.filter(
            Q(last_used_at=None) | Q(last_used_at__lt=moment - _LAST_USED_STEP), id=uuid.UUID(key_id)
        ).update(last_used_at=moment)
