"""Discarding of outdated counters, which the tenant's next admission rebuilds from the ledger."""

from __future__ import annotations

import logging
import uuid
from functools import cache

import redis
from django.conf import settings
from redis.client import Pipeline

from tenants.ledger.late_facts import late_tenant_forget, late_tenants
from tenants.quotas.counters import names

logger = logging.getLogger("cyllm.quotas")


def counters_forget(client: redis.Redis, tenant_id: str) -> None:
    """Discard a tenant's counters. Raises RedisError.

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
    """Discard a tenant's counters after the commit of a cost that no gateway reserved.

    If Redis is unavailable, the next comparison notices the difference.
    """
    try:
        counters_forget(_client(settings.CYLLM.redis_url), str(tenant_id))
    except redis.RedisError as error:
        logger.warning("quota counters not forgotten after a change of the spend: %s", type(error).__name__)


@cache
def _client(url: str) -> redis.Redis:
    return redis.Redis.from_url(url, socket_timeout=2.0, socket_connect_timeout=1.0)
