"""Names of limits and their holders in errors and commands, in English."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping

from tenants.quotas.amounts import Limit, LimitScope, seconds_left

NAMES: Mapping[Limit, str] = {
    Limit.REQUESTS: "requests per minute",
    Limit.TOKENS: "tokens per minute",
    Limit.CONCURRENT: "concurrent requests",
    Limit.DAY: "spend per day",
    Limit.MONTH: "spend per month",
}
SUBJECTS: Mapping[LimitScope, str] = {LimitScope.TENANT: "your tenant", LimitScope.KEY: "this API key"}


def renewal_text(limit: Limit, unix_s: float) -> str:
    """Return the time in UTC at which the budget of a day or month is renewed."""
    end = dt.datetime.fromtimestamp(unix_s + seconds_left(limit, unix_s), dt.UTC)
    return end.replace(minute=0).strftime("%Y-%m-%d %H:%M UTC")
