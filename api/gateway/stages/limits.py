"""The limits that the stages of the request path hold, and when to try again where no worker is."""

from __future__ import annotations

from dataclasses import dataclass

NO_WORKER_RETRY_S = 5


@dataclass(frozen=True, slots=True)
class Limits:
    """Times in seconds, sizes in bytes; each is described in ``cyllm_site.env``."""

    max_requests: int = 512
    tenant_share: float = 0.875
    max_body_bytes: int = 8 * 1024 * 1024
    held_body_bytes: int = 512 * 1024 * 1024
    client_body_timeout_s: float = 30.0
    queue_timeout_s: float = 60.0
    first_token_timeout_s: float = 120.0
    inter_token_timeout_s: float = 60.0
    total_timeout_s: float = 900.0
    stream_comment_s: float = 10.0
    submit_attempts: int = 3
    database_timeout_s: float = 3.0
    cache_s: float = 0.8
    trusted_proxies: int = 0
    stream_log_bytes: int = 4 * 1024 * 1024
    stream_log_keep_s: float = 600.0
    stream_logs_per_tenant: int = 256
    detached_max: int = 256
    detached_per_tenant: int = 64
    detached_grace_s: float = 20.0
    response_keep_days: int = 30
