"""What Celery's beat does for the ledger and the audit trail, tick by tick."""

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
from tenants.ledger.presence import workers_forget
from tenants.ledger.sweep import ledger_sweep

logger = logging.getLogger("cyllm.ledger")

DRAIN_LIMIT_S = 20.0
AWAY = (redis.RedisError, OperationalError, InterfaceError)


@cache
def ledger_client(url: str) -> redis.Redis:
    """The client of tasks. Raises RedisError after 5 s of silence."""
    # No command here waits on purpose: a Redis that is silent for so long is away.
    return redis.Redis.from_url(url, socket_timeout=5.0, socket_connect_timeout=2.0)


@shared_task(ignore_result=True)
def ledger_drain_task() -> int:
    """Drain the facts stream until it is empty, for 20 s at most. What fails is left to the next tick."""
    deadline = time.monotonic() + DRAIN_LIMIT_S
    drained = 0
    try:
        while count := ledger_drain(ledger_client(settings.CYLLM.redis_url)):
            drained += count
            if time.monotonic() > deadline:
                break
    except AWAY as error:
        logger.warning("drain put off to the next tick: %s", type(error).__name__)
    return drained


@shared_task(ignore_result=True)
def ledger_sweep_task() -> int:
    """Settle requests that nobody else will. What fails is left to the next tick."""
    client = ledger_client(settings.CYLLM.redis_url)
    try:
        consumers_prune(client)
        workers_forget(client)
        return ledger_sweep(client, now=timezone.now())
    except AWAY as error:
        logger.warning("sweep put off to the next tick: %s", type(error).__name__)
        return 0


@shared_task(ignore_result=True)
def audit_purge_task() -> int:
    """Delete audit records past their retention."""
    cutoff = timezone.now() - dt.timedelta(days=settings.CYLLM.audit_retention_days)
    try:
        return audit_purge(before=cutoff, actor="system:audit-purge")
    except AWAY as error:
        logger.warning("purge put off to the next tick: %s", type(error).__name__)
        return 0
