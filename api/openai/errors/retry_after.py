"""The Retry-After header: which errors have it, and how long clients should wait."""

from __future__ import annotations

from collections.abc import Mapping

RETRYABLE_STATUSES = frozenset({429, 503})
DEFAULT_RETRY_S = 1
# OpenAI's SDKs don't repeat a request after this, whatever its status.
NO_RETRY: Mapping[str, str] = {"x-should-retry": "false"}
NO_WORKER_RETRY_S = 5  # a worker needs this long to become ready again


def retry_after(seconds: int) -> dict[str, str]:
    """Return the header for a wait in seconds."""
    return {"retry-after": str(seconds)}


def retry_after_ms(wait_ms: int) -> dict[str, str]:
    """Return the header for a wait, in whole seconds rounded up, and the SDKs' field with the exact time."""
    wait_ms = max(wait_ms, 1)
    return {**retry_after(-(-wait_ms // 1000)), "retry-after-ms": str(wait_ms)}


def with_retry_after(status: int, headers: Mapping[str, str]) -> Mapping[str, str]:
    """Return the headers of an error; a retryable status always has ``retry-after``."""
    return {**retry_after(DEFAULT_RETRY_S), **headers} if status in RETRYABLE_STATUSES else headers
