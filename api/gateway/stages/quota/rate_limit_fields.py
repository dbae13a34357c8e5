"""The header fields ``x-ratelimit-*``, which report what remains of the limits."""

from __future__ import annotations

from tenants.limits.columns import UsageLimits
from tenants.quotas.amounts import Decision, Limit, LimitScope, limit_values


def rate_limit_fields(
    decision: Decision, tenant: UsageLimits, key: UsageLimits
) -> tuple[tuple[bytes, bytes], ...]:
    """Return OpenAI's fields of the tightest limits, for each rate that key or tenant limits."""
    fields: list[tuple[bytes, bytes]] = []
    for name, limit in ((b"requests", Limit.REQUESTS), (b"tokens", Limit.TOKENS)):
        scopes = [
            (max(0, value - decision.use(scope).of(limit)), value, decision.use(scope).reset_ms)
            for scope, limits in ((LimitScope.KEY, key), (LimitScope.TENANT, tenant))
            if (value := limit_values(limits)[limit - 1]) is not None
        ]
        if scopes:
            remaining, value, reset_ms = min(scopes)
            fields += (
                (b"x-ratelimit-limit-" + name, b"%d" % value),
                (b"x-ratelimit-remaining-" + name, b"%d" % remaining),
                (b"x-ratelimit-reset-" + name, duration_text(reset_ms).encode()),
            )
    return tuple(fields)


def duration_text(milliseconds: int) -> str:
    """Return a duration in OpenAI's format: ``17ms``, ``6.5s``, ``1m0s``, ``2h0m5s``."""
    if milliseconds < 1000:
        return f"{milliseconds}ms"
    minutes, rest_ms = divmod(milliseconds, 60_000)
    seconds = f"{rest_ms / 1000:.3f}".rstrip("0").rstrip(".")
    if not minutes:
        return f"{seconds}s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes}m{seconds}s" if hours else f"{minutes}m{seconds}s"
