"""Comparison of the counters with the ledger: late facts and training change the ledger alone.

Counters that differ are forgotten, so that the tenant's next admission rebuilds them. A difference counts
only if it stays the same while the tenant has no open request: a fact may be on its way to the ledger.
"""

from __future__ import annotations

import logging
import uuid
from typing import Any

import redis
from django.utils import timezone

from tenants.models import UsageRecord
from tenants.quotas.counters import names
from tenants.quotas.counters.forgetting import counters_forget
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
