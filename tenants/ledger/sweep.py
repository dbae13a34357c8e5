"""Settles what no further fact will settle: counts that never came, requests of dead gateways.

Facts that come later still count. They never make a second record, and the record keeps its tenant;
a worker's count replaces the gateway's or none, and a gateway's end replaces ``lost``.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection
from dataclasses import replace

import redis
from django.db import transaction
from django.db.models import Q, QuerySet

from tenants.choices import RecordState
from tenants.ledger.presence import gateways_gone
from tenants.ledger.record import audit_of_lost, usage_known
from tenants.ledger.store import audit_save, ledger_lock, usage_save
from tenants.models import ApiKey, UsageRecord

METER_WAIT = dt.timedelta(seconds=10)
GATEWAY_WAIT = dt.timedelta(seconds=5)
BATCH = 500


def ledger_sweep(client: redis.Redis, *, now: dt.datetime) -> int:
    """Settle what has waited long enough; the number of records settled.

    Ages count from when the last fact about a request was stored. Raises RedisError and Django's
    database errors: what is not settled then is settled by the next sweep.
    """
    gone = gateways_gone(client, _gateways_waited_for())
    settled = 0
    while swept := _sweep_batch(gone, now):
        settled += swept
    return settled


def _gateways_waited_for() -> set[str]:
    waiting = UsageRecord.objects.filter(state=RecordState.OPEN, ended_at=None)
    return set(waiting.values_list("gateway_id", flat=True).distinct())


def _due(gone: Collection[str], now: dt.datetime) -> QuerySet[UsageRecord]:
    waiting = UsageRecord.objects.filter(state=RecordState.OPEN)
    uncounted = Q(ended_at__isnull=False, updated_at__lte=now - METER_WAIT)
    lost = Q(ended_at=None, gateway_id__in=gone)
    counted = Q(metered_attempt__isnull=False)
    lost &= Q(updated_at__lte=now - METER_WAIT) | (counted & Q(updated_at__lte=now - GATEWAY_WAIT))
    return waiting.filter(uncounted | lost).order_by("updated_at")


@transaction.atomic
def _sweep_batch(gone: Collection[str], now: dt.datetime) -> int:
    ledger_lock()
    rows = list(_due(gone, now)[:BATCH])
    lost = [row for row in rows if row.ended_at is None]
    key_ids = {row.key_id for row in lost if row.key_id}
    prefixes = dict(ApiKey.objects.filter(id__in=key_ids).values_list("id", "prefix"))
    usage_save((replace(usage_known(row), settled_at=now) for row in rows), now=now)
    audit_save(
        [
            audit_of_lost(row, key_prefix=prefixes.get(row.key_id, "") if row.key_id else "", now=now)
            for row in lost
        ]
    )
    return len(rows)
