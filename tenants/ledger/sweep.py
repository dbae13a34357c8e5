"""Settles what no further fact will settle: counts that never came, requests of dead gateways.

Facts that come later still count. They never make a second record, and the record keeps its tenant;
a worker's count replaces the gateway's or none, and a gateway's end replaces ``lost``.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection
from dataclasses import replace
from typing import cast

import redis
from django.db import transaction
from django.db.models import Q, QuerySet

from inference_worker.protocol import names
from tenants.choices import RecordState
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
    alive = gateways_alive(client, now=now)
    settled = 0
    while swept := _sweep_batch(alive, now):
        settled += swept
    return settled


def gateways_alive(client: redis.Redis, *, now: dt.datetime) -> set[str]:
    """Ids of gateways that gave a sign of life within the last five seconds."""
    oldest = (now - GATEWAY_WAIT).timestamp()
    members = cast("list[bytes]", client.zrangebyscore(names.GATEWAY_INDEX, oldest, "+inf"))
    return {member.decode() for member in members}


def _due(alive: Collection[str], now: dt.datetime) -> QuerySet[UsageRecord]:
    waiting = UsageRecord.objects.filter(state=RecordState.OPEN)
    uncounted = Q(ended_at__isnull=False, updated_at__lte=now - METER_WAIT)
    lost = Q(ended_at=None) & ~Q(gateway_id__in=alive)
    counted = Q(metered_attempt__isnull=False)
    lost &= Q(updated_at__lte=now - METER_WAIT) | (counted & Q(updated_at__lte=now - GATEWAY_WAIT))
    return waiting.filter(uncounted | lost).order_by("updated_at")


@transaction.atomic
def _sweep_batch(alive: Collection[str], now: dt.datetime) -> int:
    ledger_lock()
    rows = list(_due(alive, now)[:BATCH])
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
