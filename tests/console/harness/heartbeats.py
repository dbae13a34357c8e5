"""Heartbeats of workers that don't run, for pages that show workers."""

from __future__ import annotations

from typing import Any

import redis

from inference_worker.protocol import codec, names
from inference_worker.protocol.messages import Heartbeat, Operation
from tests.heartbeats import ready_heartbeat


def heartbeat(worker_id: str = "worker-1", **changes: Any) -> Heartbeat:
    """Return the heartbeat of a ready worker of the model "tiny"."""
    values: dict[str, Any] = {
        "worker_id": worker_id,
        "channel": names.worker_channel(worker_id, "b"),
        "models": ("tiny",),
        "max_model_len": 4096,
        "engine": "scripted 1",
        "hardware": "none",
        "operations": tuple(Operation),
    }
    return ready_heartbeat(**{**values, **changes})


def beat(client: redis.Redis, message: Heartbeat) -> None:
    """Write a heartbeat as a worker does."""
    value = codec.encode(message)
    client.set(names.worker_key(message.worker_id), value, px=int(names.HEARTBEAT_EXPIRY_S * 1000))
    client.set(names.last_seen_key(message.worker_id), value, ex=int(names.LAST_SEEN_EXPIRY_S))
    client.zadd(names.WORKER_INDEX, {message.worker_id: message.written_at})


def lose(client: redis.Redis, worker_id: str, seen_s: int) -> None:
    """Let a worker's heartbeat expire, as if the last one had been written ``seen_s`` ago."""
    client.delete(names.worker_key(worker_id))
    client.expire(names.last_seen_key(worker_id), int(names.LAST_SEEN_EXPIRY_S) - seen_s)
