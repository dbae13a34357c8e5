"""Which gateways are gone, by Redis's clock alone, and workers that are forgotten."""

from __future__ import annotations

from collections.abc import Collection
from typing import cast

import redis

from inference_worker.protocol import names

# A Redis that comes back from an outage holds no sign of life for a moment, of those that live either.
MISSING_S = 4.0
FORGOTTEN_S = 3600.0


def gateways_gone(
    client: redis.Redis, gateway_ids: Collection[str], *, missing: str = names.GATEWAYS_MISSING
) -> set[str]:
    """Those of the gateways that showed no life at this look, nor at the one before, some seconds ago.

    Ask for all of interest at once: what is not asked for counts as seen. ``missing``: the key that holds
    what was missed, of its own for everybody who asks. Raises RedisError.
    """
    asked = sorted(gateway_ids)
    signs = client.mget([names.gateway_key(gateway_id) for gateway_id in asked]) if asked else []
    silent = [
        gateway_id for gateway_id, sign in zip(asked, cast("list[object]", signs), strict=True) if not sign
    ]
    now = _redis_time(client)
    known = cast("dict[bytes, bytes]", client.hgetall(missing))
    since = {gateway_id: float(known.get(gateway_id.encode(), now)) for gateway_id in silent}
    with client.pipeline(transaction=True) as pipeline:
        pipeline.delete(missing)
        if since:
            pipeline.hset(missing, mapping={name: str(first) for name, first in since.items()})
        pipeline.execute()
    return {gateway_id for gateway_id, first in since.items() if now - first >= MISSING_S}


def workers_forget(client: redis.Redis) -> int:
    """Take workers that have been silent for an hour out of the index; their number. Raises RedisError."""
    oldest = _redis_time(client) - FORGOTTEN_S
    return int(client.zremrangebyscore(names.WORKER_INDEX, "-inf", oldest))


def _redis_time(client: redis.Redis) -> float:
    seconds, microseconds = client.time()
    return seconds + microseconds / 1e6
