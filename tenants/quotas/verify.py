"""Comparison of the counters with the ledger: late facts and training change the ledger alone.

Counters that differ are forgotten, so that the tenant's next admission rebuilds them. A difference counts
only if it stays the same while the tenant has no open request: a fact may be on its way to the ledger.
"""

from __future__ import annotations

import logging
import uuid
from functools import cache
from typing import Any

import redis
from django.conf import settings
from django.utils import timezone
from redis.client import Pipeline

from tenants.ledger.late_facts import late_tenant_forget, late_tenants
from tenants.models import UsageRecord
from tenants.quotas.counters import names
from tenants.quotas.figures import reserved_spend, settled_spend

logger = logging.getLogger("cyllm.quotas")

# Hash: tenant id -> spend in Redis and in the ledger, when they differed last.
DIFFERENCES = "cyllm:quota:differences"

NOT_REBUILT = b"?"  # counters of a tenant without limits, which need not agree


def counters_verify(client: redis.Redis) -> int:
    """Compare this month's spend of each recent tenant. Returns the number of counters forgotten.

    Raises RedisError and Django's database errors.
    """
    members: Any = client.zrange(names.TENANTS, 0, -1)
    return sum(_verify(client, member.decode()) for member in members)


def counters_forget(client: redis.Redis, tenant_id: str) -> None:
    """Discard a tenant's counters, so that its next admission rebuilds them from the ledger.

    A rebuild in progress loses its lock and starts over, because it may have read the ledger too early.
    """
    with client.pipeline() as pipeline:
        _forget(pipeline, tenant_id)
        pipeline.execute()


def late_counters_forget(client: redis.Redis) -> None:
    """Discard the counters of the tenants with late facts. Raises RedisError."""
    for tenant_id in late_tenants(client):
        with client.pipeline() as pipeline:  # one transaction, so that no note is lost in between
            late_tenant_forget(pipeline, tenant_id)
            _forget(pipeline, tenant_id)
            pipeline.execute()


def _forget(pipeline: Pipeline, tenant_id: str) -> None:
    pipeline.hdel(names.tenant_counters(tenant_id), "incarnation")
    pipeline.delete(names.rebuild_lock(tenant_id))


def spend_changed(tenant_id: uuid.UUID) -> None:
    """On commit, discard a tenant's counters, because of a cost that no gateway reserved.

    If Redis is unavailable, the next comparison notices the difference.
    """
    try:
        counters_forget(_client(settings.CYLLM.redis_url), str(tenant_id))
    except redis.RedisError as error:
        logger.warning("quota counters not forgotten after a change of the spend: %s", type(error).__name__)


@cache
def _client(url: str) -> redis.Redis:
    return redis.Redis.from_url(url, socket_timeout=2.0, socket_connect_timeout=1.0)


def _verify(client: redis.Redis, tenant_id: str) -> bool:
    month = f"m{timezone.now():%Y%m}"
    values: Any = client.hmget(names.tenant_counters(tenant_id), "incarnation", month, "reserved_day")
    if values[0] is None or values[0].endswith(NOT_REBUILT) or client.hlen(names.reservations(tenant_id)):
        client.hdel(DIFFERENCES, tenant_id)
        return False
    if values[2] and f"m{values[2].decode()[:6]}" != month:  # what training reserves counts in this month now
        counters_forget(client, tenant_id)
        return True
    spend, ledger_spend = int(values[1] or 0), _ledger_spend(tenant_id, month)
    difference, earlier = f"{spend} {ledger_spend}".encode(), client.hget(DIFFERENCES, tenant_id)
    if spend == ledger_spend:
        client.hdel(DIFFERENCES, tenant_id)
        return False
    if difference != earlier:
        client.hset(DIFFERENCES, tenant_id, difference)
        return False
    logger.warning(
        "tenant %s has spent %d micro-dollars by its counters and %d by the ledger: they are rebuilt",
        tenant_id,
        spend,
        ledger_spend,
    )
    client.hdel(DIFFERENCES, tenant_id)
    counters_forget(client, tenant_id)
    return True


def _ledger_spend(tenant_id: str, month: str) -> int:
    records = UsageRecord.objects.filter(tenant_id=uuid.UUID(tenant_id))
    costs = settled_spend(records, timezone.now())
    settled_cost = sum(cost for _, day, cost in costs if f"m{day[:6]}" == month)
    return settled_cost + reserved_spend(uuid.UUID(tenant_id))
