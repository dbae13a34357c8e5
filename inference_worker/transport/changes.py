"""Notifications to all gateways and workers of changes to data that they cache."""

from __future__ import annotations

import logging
import uuid
from functools import cache

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from inference_worker.protocol import names

logger = logging.getLogger("cyllm.changes")

MODELS = "models"
ADAPTER = "adapter"


def key_changed(prefix: str) -> str:
    """Return the message for one API key; ``prefix`` is its public part."""
    return f"key {prefix}"


def tenant_changed(tenant_id: uuid.UUID) -> str:
    """Return the message for a tenant, which affects all its keys."""
    return f"tenant {tenant_id}"


def job_changed(job_id: str) -> str:
    """Return the message for a fine-tuning job that has new events or a new state."""
    return f"job {job_id}"


def adapter_removed(sha256: str) -> str:
    """Return the message for an adapter that no model has any more, which workers unload."""
    return f"{ADAPTER} {sha256}"


@cache
def _redis(url: str) -> redis.Redis:
    # The retry replaces a pooled connection that died while idle; it doesn't wait for Redis to return.
    return redis.Redis.from_url(
        url, socket_timeout=2.0, socket_connect_timeout=1.0, retry=Retry(NoBackoff(), 1)
    )


def publish(redis_url: str, change: str) -> bool:
    """Publish ``change``. Log a warning and return False if Redis is unavailable.

    The write that caused the change must not fail, because cached entries expire anyway.
    """
    try:
        _redis(redis_url).publish(names.CHANGES_CHANNEL, change)
    except redis.RedisError as error:
        logger.warning("change not published, caches will expire: %s (%s)", change, type(error).__name__)
        return False
    return True
