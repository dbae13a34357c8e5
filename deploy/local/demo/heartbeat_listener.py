"""What the launcher hears of its inference worker: the heartbeats that the worker leaves in Redis."""

from __future__ import annotations

import time

import redis

from inference_worker.protocol import codec, names
from inference_worker.protocol.messages import Heartbeat

PATIENCE_S = 30.0


class RedisSilentError(Exception):
    """Redis has not answered for too long; the text names it."""


class Listener:
    """Reads one worker's heartbeat. ``server``: what to call Redis if it doesn't answer."""

    def __init__(
        self, client: redis.Redis, worker_id: str, *, server: str, patience_s: float = PATIENCE_S
    ) -> None:
        self._client = client
        self._key = names.worker_key(worker_id)
        self._server = server
        self._patience_s = patience_s
        self._answered_at = time.monotonic()

    def heartbeat(self) -> Heartbeat | None:
        """The latest; None before the worker's first. Raises RedisSilentError."""
        try:
            data = self._client.get(self._key)
        except redis.RedisError as error:  # it may be on its way back
            silent_s = time.monotonic() - self._answered_at
            if silent_s > self._patience_s:
                raise RedisSilentError(
                    f"{self._server} has not answered for {silent_s:.0f} s: {error}"
                ) from None
            return None
        self._answered_at = time.monotonic()
        return _decoded(data) if isinstance(data, bytes) else None


def _decoded(data: bytes) -> Heartbeat | None:
    try:
        return codec.decode_heartbeat(data)
    except codec.ProtocolError:  # left by a worker of another version; ours will write over it
        return None
