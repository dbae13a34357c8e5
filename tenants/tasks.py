"""Periodic Celery tasks of the ledger and the audit trail."""

from __future__ import annotations

import logging
import time
from functools import cache

import redis
from celery import shared_task
from django.conf import settings
from django.utils import timezone

from tenants.audit_trail.checks import trail_check
from tenants.audit_trail.models import Trail
from tenants.audit_trail.purge import audit_retention
from tenants.audit_trail.sealing import audit_seal
from tenants.ledger.drain import consumers_prune, ledger_drain
from tenants.ledger.liveness import workers_prune
from tenants.ledger.sweep import ledger_sweep
from tenants.long_tasks import one_at_a_time
from tenants.outages import postponed_on_outage
from tenants.quotas.sweep import reservations_sweep
from tenants.quotas.verify import counters_verify
from tenants.usage.retention import refusals_retention

logger = logging.getLogger("cyllm.ledger")

DRAIN_LIMIT_S = 20.0


@cache
def ledger_client(url: str) -> redis.Redis:
    """Return the Redis client of the tasks. Its commands raise RedisError after 5 s without a reply."""
    # None of the tasks' commands blocks, so a Redis that stays silent for this long is unavailable.
    return redis.Redis.from_url(url, socket_timeout=5.0, socket_connect_timeout=2.0)


@shared_task(ignore_result=True)
@postponed_on_outage
def ledger_drain_task() -> int:
    """Drain the stream of facts until it is empty, for at most 20 s."""
    deadline = time.monotonic() + DRAIN_LIMIT_S
    drained_count = 0
    while count := ledger_drain(ledger_client(settings.CYLLM.redis_url)):
        drained_count += count
        if time.monotonic() > deadline:
            break
    return drained_count


@shared_task(ignore_result=True)
@postponed_on_outage
def ledger_sweep_task() -> int:
    """Settle requests for which no more facts will arrive."""
    client = ledger_client(settings.CYLLM.redis_url)
    consumers_prune(client)
    workers_prune(client)
    return ledger_sweep(client, now=timezone.now())


@shared_task(ignore_result=True)
@postponed_on_outage
def quota_sweep_task() -> int:
    """Settle quota reservations that their gateway left open."""
    return reservations_sweep(ledger_client(settings.CYLLM.redis_url))


@shared_task(ignore_result=True)
@postponed_on_outage
def quota_verify_task() -> int:
    """Compare the quota counters with the ledger."""
    return counters_verify(ledger_client(settings.CYLLM.redis_url))


@shared_task(ignore_result=True)
@postponed_on_outage
def audit_seal_task() -> int:
    """Seal new audit records."""
    return sum(audit_seal(trail) for trail in Trail)


@shared_task(bind=True, ignore_result=True, max_retries=None)
@one_at_a_time
def audit_check_task() -> int:
    """Compare the audit trails with their seals and return the number of deviations."""
    count = sum(len(trail_check(trail).findings) for trail in Trail)
    if count:
        logger.error(
            "the audit trail deviates from its seals (places: %d); see 'manage.py audit verify'", count
        )
    return count


@shared_task(bind=True, ignore_result=True, max_retries=None)
@one_at_a_time
def audit_purge_task() -> int:
    """Delete audit records and counts of refusals past their retention, and return the number of records."""
    days, actor = settings.CYLLM.audit_retention_days, "system:audit-purge"
    refusals_retention(now=timezone.now(), default_days=days, actor=actor)
    return audit_retention(now=timezone.now(), default_days=days, actor=actor)
