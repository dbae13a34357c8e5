"""Tells every gateway that something it may have cached has changed."""

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


def key_changed(prefix: str) -> str:
    """The message about one API key; ``prefix`` is its public part."""
    return f"key {prefix}"


def tenant_changed(tenant_id: uuid.UUID) -> str:
    """The message about a tenant: all its keys are concerned."""
    return f"tenant {tenant_id}"


@cache
def _redis(url: str) -> redis.Redis:
    # The retry is for a connection that died while it lay in the pool, not for waiting.
    return redis.Redis.from_url(
        url, socket_timeout=2.0, socket_connect_timeout=1.0, retry=Retry(NoBackoff(), 1)
    )


def publish(redis_url: str, change: str) -> bool:
    """Publish ``change``; False, with a warning in the log, where Redis is away.

    A change that can't be told is no error of the write: caches age out by themselves.
    """
    try:
        _redis(redis_url).publish(names.CHANGES_CHANNEL, change)
    except redis.RedisError as error:
        logger.warning("change not published, caches will age out: %s (%s)", change, type(error).__name__)
        return False
    return True
