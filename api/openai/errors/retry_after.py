"""The Retry-After header: which errors have it, and how long clients should wait."""

from __future__ import annotations

from collections.abc import Mapping

RETRYABLE_STATUSES = frozenset({429, 503})
DEFAULT_RETRY_S = 1
NO_WORKER_RETRY_S = 5  # a worker needs this long to become ready again


def retry_after(seconds: int) -> dict[str, str]:
    """Return the header for a wait in seconds."""
    return {"retry-after": str(seconds)}


def with_retry_after(status: int, headers: Mapping[str, str]) -> Mapping[str, str]:
    """Return the headers of an error; a retryable status always has ``retry-after``."""
    return {**retry_after(DEFAULT_RETRY_S), **headers} if status in RETRYABLE_STATUSES else headers
