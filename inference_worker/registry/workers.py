"""The live workers, for administrators who ask why a model isn't served."""

from __future__ import annotations

import redis

from inference_worker.protocol import codec, names
from inference_worker.protocol.messages import Heartbeat

TIMEOUT_S = 5.0


def live_workers(redis_url: str) -> list[Heartbeat]:
    """Return the workers whose heartbeat has not expired, ordered by id. Raises redis.RedisError."""
    with redis.Redis.from_url(
        redis_url, socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S
    ) as client:
        ids = [str(name, "utf-8") for name in client.zrange(names.WORKER_INDEX, 0, -1)]
        values = client.mget([names.worker_key(worker_id) for worker_id in ids]) if ids else []
    heartbeats = [_decode(value) for value in values if isinstance(value, bytes)]
    return sorted((worker for worker in heartbeats if worker), key=lambda worker: worker.worker_id)


def _decode(value: bytes) -> Heartbeat | None:
    try:
        return codec.decode_heartbeat(value)
    except codec.ProtocolError:  # a worker of another version, which the gateways ignore as well
        return None
