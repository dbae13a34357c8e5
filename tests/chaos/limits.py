"""Limits of a trial: a tenant whose keys run into them, and the comparison of its records with them."""

from __future__ import annotations

import bisect
import datetime as dt
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

import redis

from benchmarks.tenants import create_key
from tests.stacks import RunningStack

SLUG = "limited"
# Micro-dollars per token, so that a complete answer of a trial costs 127.
PROMPT_PRICE, COMPLETION_PRICE = "1.00", "10.00"
TENANT_LIMITS: Mapping[str, int] = {"requests-per-minute": 150, "spend-per-month": 60_000}
KEY_LIMITS: Mapping[str, Mapping[str, int]] = {
    "spend": {"spend-per-day": 12_000},
    "requests": {"requests-per-minute": 50},
    "tokens": {"tokens-per-minute": 1500},
}
# A request is counted when it is admitted. Its record has the time of its arrival, which is earlier by the
# time for which Redis and the ledger may be away.
WINDOW_S, MAX_DELAY_S = 60.0, 20.0
ROWS = """
    SELECT k.name, extract(epoch FROM u.started_at), u.prompt_tokens + u.completion_tokens, u.cost_microusd
    FROM tenants_usagerecord u JOIN tenants_apikey k ON k.id = u.key_id
    JOIN tenants_tenant t ON t.id = u.tenant_id
    WHERE t.slug = %s AND coalesce(u.attempt, 0) > 0 ORDER BY u.started_at
"""


@dataclass(frozen=True)
class Use:
    """A dispatched request: its key's name, its arrival in Unix seconds, its tokens and micro-dollars."""

    key: str
    at: float
    tokens: int
    cost: int


def limited_keys(stack: RunningStack) -> list[str]:
    """Create the tenant with its keys, and give the model prices. Returns the keys."""
    prices = ("--prompt-price", PROMPT_PRICE, "--completion-price", COMPLETION_PRICE)
    stack.manage("models", "update", stack.model, *prices)
    stack.manage("tenants", "create", SLUG, *_options(TENANT_LIMITS))
    return [create_key(stack, SLUG, name, _options(limits)) for name, limits in KEY_LIMITS.items()]


def _options(limits: Mapping[str, int]) -> list[str]:
    options = []
    for name, value in limits.items():
        options += [f"--{name}", f"{value / 1e6:.6f}" if "spend" in name else str(value)]
    return options


def limit_faults(stack: RunningStack) -> list[str]:
    """Return what was admitted beyond a limit, and what is still reserved. Empty if nothing is wrong."""
    with stack.database() as database:
        uses = [
            Use(str(key), float(str(at)), int(str(tokens)), int(str(cost)))
            for key, at, tokens, cost in database.execute(ROWS, [SLUG]).fetchall()
        ]
        rows = database.execute("SELECT slug, id::text FROM tenants_tenant").fetchall()
    faults = exceeded_limits("tenant", TENANT_LIMITS, uses)
    for name, limits in KEY_LIMITS.items():
        faults += exceeded_limits(f"key {name}", limits, [use for use in uses if use.key == name])
    with stack.redis() as client:
        for slug, tenant_id in rows:
            faults += _open_reservations(client, str(slug), str(tenant_id))
    return faults


def exceeded_limits(holder: str, limits: Mapping[str, int], uses: Sequence[Use]) -> list[str]:
    """Return a line for each limit that the uses, in the order of their times, exceed."""
    by_period = {
        "requests-per-minute": largest_window(uses, [1] * len(uses)),
        "tokens-per-minute": largest_window(uses, [use.tokens for use in uses]),
        "spend-per-day": _largest_spend(uses, "%Y-%m-%d"),
        "spend-per-month": _largest_spend(uses, "%Y-%m"),
    }
    return [
        f"{holder}: {by_period[name]} of {value} {name}"
        for name, value in limits.items()
        if by_period[name] > value
    ]


def largest_window(uses: Sequence[Use], amounts: Sequence[int]) -> int:
    """Return the most that certainly was admitted within a minute."""
    times, totals = [use.at for use in uses], [0, *accumulate(amounts)]
    ends = [bisect.bisect_right(times, at + WINDOW_S - MAX_DELAY_S) for at in times]
    return max((totals[end] - totals[start] for start, end in enumerate(ends)), default=0)


def _largest_spend(uses: Sequence[Use], period: str) -> int:
    spend: Counter[str] = Counter()
    for use in uses:
        spend[dt.datetime.fromtimestamp(use.at, dt.UTC).strftime(period)] += use.cost
    return max(spend.values(), default=0)


def _open_reservations(client: redis.Redis, slug: str, tenant_id: str) -> list[str]:
    prefix = f"cyllm:quota:{{{tenant_id}}}:"
    count, leases = client.hlen(prefix + "reservations"), client.zcard(prefix + "leases")
    return [f"{slug}: {count} reservations and {leases} leases are left"] if count or leases else []
