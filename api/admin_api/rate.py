"""The rate limit of the administrative API: requests per minute of each key, and of each person.

Its counters are apart from those of the quotas, which the ledger of model requests must explain.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import redis
from django.conf import settings

from api.admin_api.callers import Caller
from api.openai.errors.quotas import RateLimitExceeded
from api.openai.errors.retry_after import NO_RETRY, retry_after

logger = logging.getLogger("cyllm.admin_api")

WINDOW_S = 60
NAME = "requests per minute"


@dataclass(frozen=True, slots=True)
class _Use:
    """Earlier requests in this minute, requests in the minute before, and their limit."""

    count: int
    earlier_count: int
    elapsed_s: float
    limit: int

    @property
    def last_minute(self) -> int:
        """The requests of the last 60 s. Of the earlier minute, the part that is still within them counts."""
        return self.count + math.ceil(self.earlier_count * (1 - self.elapsed_s / WINDOW_S))

    @property
    def is_used_up(self) -> bool:
        """True if another request doesn't fit the limit."""
        return self.last_minute >= self.limit

    @property
    def wait_s(self) -> int:
        """The whole seconds until another request fits the limit, 0 if it does."""
        if not self.is_used_up:
            return 0
        if not self.limit:
            return WINDOW_S
        if self.count < self.limit:
            return self._seconds_until(self.elapsed_s, self.limit - 1 - self.count, self.earlier_count)
        return self._seconds_until(self.elapsed_s - WINDOW_S, self.limit - 1, self.count)

    @staticmethod
    def _seconds_until(now_s: float, room: int, earlier_count: int) -> int:
        """Return the time until at most ``room`` of the earlier requests count. ``now_s``: in this minute."""
        return math.floor(WINDOW_S * (1 - room / earlier_count) - now_s) + 1


def count_request(caller: Caller) -> None:
    """Count a request. Raises RateLimitExceeded. Without Redis, nothing is limited."""
    try:
        uses = _count(_client(settings.CYLLM.redis_url), _limits(caller))
    except redis.RedisError as error:
        # Operators need this API most while a store is down.
        logger.warning("a request isn't counted: %s", type(error).__name__)
        return
    use = max(uses, key=lambda use: (not use.limit, use.wait_s))
    if use.is_used_up:
        raise RateLimitExceeded(
            subject="this caller of the administrative API",
            limit_name=NAME,
            limit=use.limit,
            used=use.last_minute,
            requested=1,
            advice=(
                "Wait, or send fewer requests. All keys of one person share a limit."
                if use.limit
                else "The limit admits no request. Ask your administrator for a higher one."
            ),
            headers=retry_after(use.wait_s) if use.limit else {**retry_after(use.wait_s), **NO_RETRY},
        )


def _limits(caller: Caller) -> dict[str, int]:
    """Return the limits of the caller and of its person by the name of the counter."""
    limit: int = settings.CYLLM.admin_requests_per_minute
    own_limit = limit if caller.requests_per_minute is None else min(limit, caller.requests_per_minute)
    return ({caller.person: limit} if caller.person else {}) | {caller.identity: own_limit}


def _count(client: redis.Redis, limits: Mapping[str, int]) -> list[_Use]:
    """Return the uses before this request, which is counted if it fits all limits."""
    minute, elapsed_s = divmod(time.time(), WINDOW_S)
    pipeline = client.pipeline()
    for name in limits:
        pipeline.incr(_counter(name, minute))
        pipeline.expire(_counter(name, minute), 2 * WINDOW_S)
        pipeline.get(_counter(name, minute - 1))
    replies = pipeline.execute()
    uses = [
        _Use(int(count) - 1, int(earlier_count or 0), elapsed_s, limit)
        for count, earlier_count, limit in zip(replies[::3], replies[2::3], limits.values(), strict=True)
    ]
    if any(use.is_used_up for use in uses):
        for name in limits:
            pipeline.decr(_counter(name, minute))
        pipeline.execute()
    return uses


def _counter(name: str, minute: float) -> str:
    return f"cyllm:admin-api:{name}:{int(minute)}"


@cache
def _client(url: str) -> redis.Redis:
    return redis.Redis.from_url(url, socket_timeout=1.0, socket_connect_timeout=1.0)
