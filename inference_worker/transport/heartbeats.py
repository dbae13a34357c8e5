"""Heartbeats of workers as they are read from Redis."""

from __future__ import annotations

import logging
from functools import lru_cache

from inference_worker.protocol import codec
from inference_worker.protocol.messages import Heartbeat

logger = logging.getLogger("cyllm.directory")


def parse_heartbeat(value: object) -> Heartbeat | None:
    """Decode the value of a worker's key; None if it is missing or of another protocol version."""
    if not isinstance(value, bytes):
        return None
    try:
        return codec.decode_heartbeat(value)
    except codec.ProtocolError as error:
        _warn_once(str(error))
        return None


@lru_cache(maxsize=100)
def _warn_once(error: str) -> None:
    # Heartbeats are read twice a second, for as long as a worker of the other version runs.
    logger.warning("heartbeat of another protocol version ignored: %s", error)
