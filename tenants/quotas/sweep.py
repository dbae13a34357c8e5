"""Settlement of reservations that a gateway left open, because it didn't know the meter or died.

The ledger decides what such a request has used. Settling is idempotent, so the gateway's own settlement,
this sweep and a repetition of it may overlap.
"""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import redis

from inference_worker.protocol.names import FACTS_STREAM
from tenants.choices import RecordState
from tenants.ledger.liveness import redis_time
from tenants.models import UsageRecord
from tenants.quotas.amounts import NOTHING, Amounts, StoredReservation
from tenants.quotas.counters import names, scripts
from tenants.quotas.counters.forgetting import late_counters_forget
from tenants.quotas.counters.quota_counters import LEASE_MS

logger = logging.getLogger("cyllm.quotas")

BATCH = 500
# A request without a record was never dispatched: its gateway died between reservation and record.
UNRECORDED_AFTER = dt.timedelta(seconds=30)
IDLE_AFTER_S = 3600


def reservations_sweep(client: redis.Redis) -> int:
    """Settle the reservations without a lease that the ledger has settled. Returns their number.

    Raises RedisError and Django's database errors; the next sweep continues.
    """
    late_counters_forget(client)
    now_s = redis_time(client)
    count = 0
    for tenant_id in _tenants(client):
        count += _sweep_tenant(client, tenant_id, now_s)
    _forget_idle(client, now_s)
    return count


def _tenants(client: redis.Redis) -> list[str]:
    members: Any = client.zrange(names.TENANTS, 0, -1)
    return [member.decode() for member in members]


def _sweep_tenant(client: redis.Redis, tenant_id: str, now_s: float) -> int:
    _shorten_leases(client, tenant_id, now_s)
    count, start = 0, 0
    while leases := _expired_leases(client, tenant_id, now_s, start):
        settled_count = _settle_batch(client, tenant_id, leases, now_s)
        count += settled_count
        start += len(leases) - settled_count  # skip those that stay open
        if len(leases) < BATCH:
            break
    return count


def _shorten_leases(client: redis.Redis, tenant_id: str, now_s: float) -> None:
    """Shorten leases from before the server's clock was set back, which would last too long."""
    latest = int(now_s * 1000) + LEASE_MS
    key = names.tenant_leases(tenant_id)
    request_ids: Any = client.zrangebyscore(key, latest + LEASE_MS, "+inf")
    if not request_ids:
        return
    reservations: Any = client.hmget(names.reservations(tenant_id), request_ids)
    for request_id, reservation in zip(request_ids, reservations, strict=True):
        lease_keys = [key]
        if reservation:
            lease_keys.append(names.key_leases(tenant_id, _key_id(reservation)))
        for lease_key in lease_keys:
            client.zadd(lease_key, {request_id: latest}, xx=True)


def _expired_leases(client: redis.Redis, tenant_id: str, now_s: float, start: int) -> Mapping[str, float]:
    """Return request ids and the seconds at which their leases ended."""
    key, maximum = names.tenant_leases(tenant_id), int(now_s * 1000)
    entries: Any = client.zrangebyscore(key, "-inf", maximum, start=start, num=BATCH, withscores=True)
    return {request_id.decode(): score / 1000 for request_id, score in entries}


def _settle_batch(client: redis.Redis, tenant_id: str, leases: Mapping[str, float], now_s: float) -> int:
    columns = ("request_id", "state", "prompt_tokens", "completion_tokens", "cost_microusd")
    records = UsageRecord.objects.filter(request_id__in=leases).only(*columns)
    states = {record.request_id: record.state for record in records}
    uses = {
        record.request_id: used_amounts(record) for record in records if record.state == RecordState.SETTLED
    }
    unknown = [request_id for request_id in leases if request_id not in states]
    uses |= dict.fromkeys(_unrecorded(client, unknown, leases, now_s), NOTHING)
    settle_all(client, tenant_id, uses)
    return len(uses)


def used_amounts(record: UsageRecord) -> Amounts:
    """Return what a settled request has used."""
    return Amounts(1, record.prompt_tokens + record.completion_tokens, record.cost_microusd)


def settle_all(client: redis.Redis, tenant_id: str, uses: Mapping[str, Amounts]) -> None:
    """Settle requests, each given by its id and what it has used."""
    if not uses:
        return
    reservations: Any = client.hmget(names.reservations(tenant_id), list(uses))
    with client.pipeline(transaction=False) as pipeline:
        for (request_id, amounts), reservation in zip(uses.items(), reservations, strict=True):
            key_id = _key_id(reservation) if reservation else ""
            keys = names.script_keys(tenant_id, key_id)
            arguments = (request_id, amounts.requests, amounts.tokens, amounts.cost)
            pipeline.eval(scripts.SETTLE.text, len(keys), *keys, *arguments)
        pipeline.execute()


def _key_id(reservation: bytes) -> str:
    return StoredReservation.parse(reservation.decode()).key_id


def _unrecorded(
    client: redis.Redis, request_ids: Sequence[str], leases: Mapping[str, float], now_s: float
) -> list[str]:
    """Return the requests that will never have a record, because their facts would have arrived by now."""
    limit_s = now_s - UNRECORDED_AFTER.total_seconds()
    oldest: Any = client.xrange(FACTS_STREAM, count=1) if request_ids else []
    if oldest:
        limit_s = min(limit_s, int(oldest[0][0].partition(b"-")[0]) / 1000)
    return [request_id for request_id in request_ids if leases[request_id] < limit_s]


def _forget_idle(client: redis.Redis, now_s: float) -> None:
    """Forget tenants with neither a recent nor an open reservation."""
    idle: Any = client.zrangebyscore(names.TENANTS, "-inf", now_s - IDLE_AFTER_S)
    for member in idle:
        if not client.exists(names.tenant_leases(member.decode())):
            client.zrem(names.TENANTS, member)
