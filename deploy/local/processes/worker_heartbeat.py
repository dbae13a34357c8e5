"""Reads the heartbeat that the inference worker writes to Redis."""

from __future__ import annotations

import time

import redis

from inference_worker.protocol import names
from inference_worker.protocol.messages import Heartbeat
from inference_worker.transport.heartbeats import parse_heartbeat

PATIENCE_S = 30.0


class RedisSilentError(Exception):
    """Redis has not responded for too long; the text names the server."""


class HeartbeatReader:
    """Reads one worker's heartbeat. ``server`` is the name of Redis in error messages."""

    def __init__(
        self, client: redis.Redis, worker_id: str, *, server: str, patience_s: float = PATIENCE_S
    ) -> None:
        self._client = client
        self._key = names.worker_key(worker_id)
        self._server = server
        self._patience_s = patience_s
        self._last_response_at = time.monotonic()

    def read(self) -> Heartbeat | None:
        """Return the latest heartbeat, or None before the first. Raises RedisSilentError."""
        try:
            data = self._client.get(self._key)
        except redis.RedisError as error:  # may be restarting
            silence_s = time.monotonic() - self._last_response_at
            if silence_s > self._patience_s:
                raise RedisSilentError(
                    f"{self._server} has not responded for {silence_s:.0f} s: {error}"
                ) from None
            return None
        self._last_response_at = time.monotonic()
        return parse_heartbeat(data)  # None from a worker of an earlier version: the new one overwrites it
