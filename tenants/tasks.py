"""Periodic Celery tasks of the ledger and the audit trail."""

from __future__ import annotations

import datetime as dt
import logging
import time
from functools import cache

import redis
from celery import shared_task
from django.conf import settings
from django.db import InterfaceError, OperationalError
from django.utils import timezone

from tenants.audit_purge import audit_purge
from tenants.ledger.drain import consumers_prune, ledger_drain
from tenants.ledger.liveness import workers_prune
from tenants.ledger.sweep import ledger_sweep

logger = logging.getLogger("cyllm.ledger")

DRAIN_LIMIT_S = 20.0
OUTAGE_ERRORS = (redis.RedisError, OperationalError, InterfaceError)


@cache
def ledger_client(url: str) -> redis.Redis:
    """Return the Redis client of the tasks. Its commands raise RedisError after 5 s without a reply."""
    # None of the tasks' commands blocks, so a Redis that stays silent for this long is unavailable.
    return redis.Redis.from_url(url, socket_timeout=5.0, socket_connect_timeout=2.0)


@shared_task(ignore_result=True)
def ledger_drain_task() -> int:
    """Drain the stream of facts until it is empty, for at most 20 s. The next run retries after an outage."""
    deadline = time.monotonic() + DRAIN_LIMIT_S
    drained_count = 0
    try:
        while count := ledger_drain(ledger_client(settings.CYLLM.redis_url)):
            drained_count += count
            if time.monotonic() > deadline:
                break
    except OUTAGE_ERRORS as error:
        logger.warning("drain postponed to the next run: %s", type(error).__name__)
    return drained_count


@shared_task(ignore_result=True)
def ledger_sweep_task() -> int:
    """Settle requests for which no more facts will arrive. The next run retries after an outage."""
    client = ledger_client(settings.CYLLM.redis_url)
    try:
        consumers_prune(client)
        workers_prune(client)
        return ledger_sweep(client, now=timezone.now())
    except OUTAGE_ERRORS as error:
        logger.warning("sweep postponed to the next run: %s", type(error).__name__)
        return 0


@shared_task(ignore_result=True)
def audit_purge_task() -> int:
    """Delete audit records past their retention. The next run retries after an outage."""
    cutoff = timezone.now() - dt.timedelta(days=settings.CYLLM.audit_retention_days)
    try:
        return audit_purge(before=cutoff, actor="system:audit-purge")
    except OUTAGE_ERRORS as error:
        logger.warning("purge postponed to the next run: %s", type(error).__name__)
        return 0
