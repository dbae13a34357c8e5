"""Values of the quota counters: claims of requests, decisions about them, and the limits in both."""

from __future__ import annotations

import datetime as dt
import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tenants.limits.columns import UsageLimits
from tenants.quotas.settings import QuotaDefaults

# Rates are those of the last minute, counted in buckets of a second: the oldest one is partly in it.
WINDOW_S = 61


class Limit(enum.IntEnum):
    """The limits, in the order of the script's arguments."""

    REQUESTS = 1
    TOKENS = 2
    CONCURRENT = 3
    DAY = 4
    MONTH = 5


SPEND = (Limit.DAY, Limit.MONTH)


class LimitScope(enum.IntEnum):
    """The holders of limits, in the order of the script's arguments."""

    TENANT = 1
    KEY = 2


# A billion dollars. Lua's numbers are exact up to nine, and thousands of requests fit into Redis's integers.
MAX_COST = 10**15


@dataclass(frozen=True, slots=True)
class Amounts:
    """Amounts of a request; ``cost`` is in micro-dollars."""

    requests: int = 1
    tokens: int = 0
    cost: int = 0


NOTHING = Amounts(requests=0)


@dataclass(frozen=True, slots=True)
class Claim:
    """The most that a request can use. ``day``: day in UTC on which the ledger books it, as yyyymmdd.

    ``needs_budget``: it is refused when the spend is exhausted, even if it costs nothing itself.
    """

    request_id: str
    tenant_id: str
    key_id: str
    day: str
    amounts: Amounts
    needs_budget: bool = False


@dataclass(frozen=True, slots=True)
class StoredReservation:
    """A reservation in Redis: a text with its values separated by ``|``, which the scripts also write.

    ``day``: as in ``Claim``.
    """

    admitted_at_s: int
    day: str
    amounts: Amounts
    key_id: str

    @classmethod
    def parse(cls, text: str) -> StoredReservation:
        """Return the reservation with this text."""
        admitted_at_s, day, requests, tokens, cost, key_id = text.split("|")
        return cls(int(admitted_at_s), day, Amounts(int(requests), int(tokens), int(cost)), key_id)

    def __str__(self) -> str:
        amounts = self.amounts
        parts = (self.admitted_at_s, self.day, amounts.requests, amounts.tokens, amounts.cost, self.key_id)
        return "|".join(map(str, parts))


@dataclass(frozen=True, slots=True)
class Use:
    """Use of one scope after a decision. Rates are those of the last minute, spend is in micro-dollars.

    ``reset_ms``: time until the window of the last minute is empty if nothing more is admitted.
    """

    requests: int
    tokens: int
    concurrent: int
    day: int
    month: int
    reset_ms: int

    def of(self, limit: Limit) -> int:
        """Return the use that counts towards a limit."""
        return (self.requests, self.tokens, self.concurrent, self.day, self.month)[limit - 1]


@dataclass(frozen=True, slots=True)
class Refusal:
    """The limit that refuses a claim. ``wait_ms``: time until it may fit, None if waiting won't help."""

    scope: LimitScope
    limit: Limit
    wait_ms: int | None


@dataclass(frozen=True, slots=True)
class Decision:
    """The script's answer to a claim. ``admitted_at_s``: Redis's time."""

    admitted_at_s: int
    tenant: Use
    key: Use
    refusal: Refusal | None

    def use(self, scope: LimitScope) -> Use:
        """Return the use of a scope."""
        return self.tenant if scope is LimitScope.TENANT else self.key


def with_defaults(limits: UsageLimits, defaults: QuotaDefaults) -> UsageLimits:
    """Return a tenant's limits, with the platform's default for each that it doesn't have."""

    def first(own: int | None, default: int | None) -> int | None:
        return default if own is None else own

    return UsageLimits(
        first(limits.requests_per_minute, defaults.default_requests_per_minute),
        first(limits.tokens_per_minute, defaults.default_tokens_per_minute),
        first(limits.concurrent_requests, defaults.default_concurrent_requests),
        first(limits.spend_per_day_microusd, defaults.default_spend_per_day_microusd),
        first(limits.spend_per_month_microusd, defaults.default_spend_per_month_microusd),
        limits.allowed_models,
    )


def limit_values(limits: UsageLimits) -> tuple[int | None, ...]:
    """Return the values in the order of ``Limit``."""
    return (
        limits.requests_per_minute,
        limits.tokens_per_minute,
        limits.concurrent_requests,
        limits.spend_per_day_microusd,
        limits.spend_per_month_microusd,
    )


def limit_arguments(limits: UsageLimits) -> list[int]:
    """Return the arguments of the script."""
    return [-1 if value is None else value for value in limit_values(limits)]


def decision(reply: Sequence[Any]) -> Decision | None:
    """Parse the script's reply; None if the counters have to be rebuilt first."""
    if reply[0] == b"rebuild":
        return None
    now_ms, scope, limit, wait_ms = reply[1:5]
    refusal = None
    if reply[0] == b"refused":
        refusal = Refusal(LimitScope(scope), Limit(limit), None if wait_ms < 0 else wait_ms)
    return Decision(now_ms // 1000, Use(*reply[5:11]), Use(*reply[11:17]), refusal)


def utc_day(unix_s: float) -> str:
    """Return the day in UTC of a Unix time, as yyyymmdd."""
    return dt.datetime.fromtimestamp(unix_s, dt.UTC).strftime("%Y%m%d")


def spend_field(limit: Limit, day: str) -> str:
    """Return the field of the counters with the spend of a day (yyyymmdd), or of its month."""
    return f"d{day}" if limit is Limit.DAY else f"m{day[:6]}"


def seconds_left(limit: Limit, unix_s: float) -> int:
    """Return the seconds until the day or month in UTC ends, rounded up."""
    now = dt.datetime.fromtimestamp(unix_s, dt.UTC)
    end = dt.datetime(now.year, now.month, now.day, tzinfo=dt.UTC) + dt.timedelta(days=1)
    if limit is Limit.MONTH:
        end = dt.datetime(now.year + now.month // 12, now.month % 12 + 1, 1, tzinfo=dt.UTC)
    return -int((now - end).total_seconds() // 1)
