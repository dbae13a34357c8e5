"""Settlement of requests for which no more facts will arrive: missing meters and dead gateways.

Late facts still count. They update the existing record, which keeps its tenant: a worker's meter replaces
the gateway's count or zero, and a gateway's end replaces ``lost``.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection
from dataclasses import replace

import redis
from django.db import transaction
from django.db.models import Q, QuerySet

from tenants.choices import RecordState
from tenants.ledger.columns import AuditColumns, lost_audit_columns, state_of_usage
from tenants.ledger.liveness import dead_gateways
from tenants.ledger.store import audit_save, usage_save
from tenants.locks import ledger_lock
from tenants.models import ApiKey, UsageRecord

METER_WAIT = dt.timedelta(seconds=10)
GATEWAY_WAIT = dt.timedelta(seconds=5)
BATCH = 500


def ledger_sweep(client: redis.Redis, *, now: dt.datetime) -> int:
    """Settle the requests that have waited long enough. Returns their number.

    Waits count from the time the latest fact about a request was stored. Raises RedisError and Django's
    database errors; the next sweep settles the rest.
    """
    dead_ids = dead_gateways(client, _active_gateways())
    settled_count = 0
    while batch_count := _sweep_batch(dead_ids, now):
        settled_count += batch_count
    return settled_count


def _active_gateways() -> set[str]:
    running = UsageRecord.objects.filter(state=RecordState.OPEN, ended_at=None)
    return set(running.values_list("gateway_id", flat=True).distinct())


@transaction.atomic
def _sweep_batch(dead_ids: Collection[str], now: dt.datetime) -> int:
    ledger_lock()
    records = list(_due_records(dead_ids, now)[:BATCH])
    usage_save((replace(state_of_usage(record), settled_at=now) for record in records), now=now)
    audit_save(_lost_audits([record for record in records if record.ended_at is None], now))
    return len(records)


def _due_records(dead_ids: Collection[str], now: dt.datetime) -> QuerySet[UsageRecord]:
    is_due = Q(updated_at__lte=now - METER_WAIT)
    is_metered = Q(metered_attempt__isnull=False)
    lacks_meter = Q(ended_at__isnull=False) & is_due
    is_lost = Q(ended_at=None, gateway_id__in=dead_ids)
    is_lost &= is_due | (is_metered & Q(updated_at__lte=now - GATEWAY_WAIT))
    open_records = UsageRecord.objects.filter(state=RecordState.OPEN)
    return open_records.filter(lacks_meter | is_lost).order_by("updated_at")


def _lost_audits(records: Collection[UsageRecord], now: dt.datetime) -> list[AuditColumns]:
    key_ids = {record.key_id for record in records if record.key_id}
    prefixes = dict(ApiKey.objects.filter(id__in=key_ids).values_list("id", "prefix"))
    return [
        lost_audit_columns(
            record, key_prefix=prefixes.get(record.key_id, "") if record.key_id else "", now=now
        )
        for record in records
    ]
