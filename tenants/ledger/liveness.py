"""Detection of dead gateways, and removal of workers that stopped sending heartbeats, by Redis's clock."""

from __future__ import annotations

from collections.abc import Collection
from typing import cast

import redis

from inference_worker.protocol import names

PRUNE_AFTER_S = 3600.0


def dead_gateways(
    client: redis.Redis, gateway_ids: Collection[str], *, missing_key: str = names.GATEWAYS_MISSING
) -> set[str]:
    """Return the gateways whose presence key was missing in two calls, ``GATEWAY_DEAD_AFTER_S`` apart.

    Pass all gateways of interest in each call: one that is left out counts as alive. ``missing_key`` names
    the Redis hash of the times when gateways were first missing; each kind of caller needs its own.
    Raises RedisError.
    """
    missing_ids = _without_presence_key(client, sorted(gateway_ids))
    now = redis_time(client)
    earlier = cast("dict[bytes, bytes]", client.hgetall(missing_key))
    missing_since = {name: float(earlier.get(name.encode(), now)) for name in missing_ids}
    with client.pipeline(transaction=True) as pipeline:
        pipeline.delete(missing_key)
        if missing_since:
            pipeline.hset(missing_key, mapping={name: str(since) for name, since in missing_since.items()})
        pipeline.execute()
    dead_since = now - names.GATEWAY_DEAD_AFTER_S
    return {gateway_id for gateway_id, since in missing_since.items() if since <= dead_since}


def _without_presence_key(client: redis.Redis, gateway_ids: list[str]) -> list[str]:
    if not gateway_ids:
        return []
    presence_keys = client.mget([names.gateway_key(gateway_id) for gateway_id in gateway_ids])
    pairs = zip(gateway_ids, cast("list[object]", presence_keys), strict=True)
    return [gateway_id for gateway_id, is_present in pairs if not is_present]


def workers_prune(client: redis.Redis) -> int:
    """Remove workers without a heartbeat for an hour from the index. Returns their number.

    Raises RedisError.
    """
    oldest = redis_time(client) - PRUNE_AFTER_S
    return int(client.zremrangebyscore(names.WORKER_INDEX, "-inf", oldest))


def redis_time(client: redis.Redis) -> float:
    """Return the Unix time by Redis's clock. Raises RedisError."""
    seconds, microseconds = client.time()
    return seconds + microseconds / 1e6
