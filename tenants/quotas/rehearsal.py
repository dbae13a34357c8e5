"""Rehearsal of limits: the requests of the last week that they would have refused, from the ledger."""

from __future__ import annotations

import datetime as dt
import heapq
import uuid
from collections import defaultdict, deque
from dataclasses import dataclass, field
from typing import Any

from tenants.limits.columns import UsageLimits
from tenants.models import UsageRecord
from tenants.usage.sums import UsagePeriod, usage_total

DAYS = 7
MAX_RECORDS = 100_000
MINUTE = dt.timedelta(minutes=1)
COLUMNS = (
    *("started_at", "ended_at", "key_id", "gateway_id"),
    *("prompt_tokens", "completion_tokens", "cost_microusd"),
)


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """Counts of replayed requests, of those that the limits would have refused, and of the affected keys."""

    requests: int
    refusals: int
    keys: int


@dataclass(slots=True)
class _Counters:
    """A tenant's counters under the rehearsed limits. Requests count with the tokens that they used."""

    limits: UsageLimits
    month_microusd: dict[tuple[int, int], int]
    day_microusd: dict[dt.date, int] = field(default_factory=lambda: defaultdict(int))
    window: deque[tuple[dt.datetime, int]] = field(default_factory=deque)
    window_tokens: int = 0
    ends: list[dt.datetime] = field(default_factory=list)

    def admits(self, at: dt.datetime, tokens: int, cost: int) -> bool:
        """Return whether a request fits into all limits."""
        while self.window and self.window[0][0] <= at - MINUTE:
            self.window_tokens -= self.window.popleft()[1]
        while self.ends and self.ends[0] <= at:
            heapq.heappop(self.ends)
        uses = (
            (self.limits.requests_per_minute, len(self.window) + 1),
            (self.limits.tokens_per_minute, self.window_tokens + tokens),
            (self.limits.concurrent_requests, len(self.ends) + 1),
            (self.limits.spend_per_day_microusd, self.day_microusd[at.date()] + cost),
            (self.limits.spend_per_month_microusd, self.month_microusd[at.year, at.month] + cost),
        )
        return all(limit is None or use <= limit for limit, use in uses)

    def book(self, at: dt.datetime, end: dt.datetime, tokens: int, cost: int) -> None:
        """Count an admitted request."""
        self.window.append((at, tokens))
        self.window_tokens += tokens
        heapq.heappush(self.ends, end)
        self.spend(at, cost)

    def spend(self, at: dt.datetime, cost: int) -> None:
        """Count a cost."""
        self.day_microusd[at.date()] += cost
        self.month_microusd[at.year, at.month] += cost


def limits_rehearse(tenant_id: uuid.UUID, limits: UsageLimits, *, now: dt.datetime) -> Rehearsal:
    """Replay the tenant's requests since midnight UTC a week ago, the latest 100,000 at most. Two queries.

    Gateways reserve the most that a request can use, so they may refuse more.
    """
    midnight = now.astimezone(dt.UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    start = midnight - dt.timedelta(days=DAYS)
    counters = _Counters(limits, _month_spend(tenant_id, start))
    requests, refusals, key_ids = 0, 0, set[uuid.UUID | None]()
    for record in _records(tenant_id, start):
        at, tokens = record.started_at.astimezone(dt.UTC), record.prompt_tokens + record.completion_tokens
        if not record.gateway_id:  # training, which has a cost but isn't a request
            counters.spend(at, record.cost_microusd)
            continue
        requests += 1
        if counters.admits(at, tokens, record.cost_microusd):
            counters.book(at, record.ended_at or at, tokens, record.cost_microusd)
        else:
            refusals += 1
            key_ids.add(record.key_id)
    return Rehearsal(requests, refusals, len(key_ids))


def _month_spend(tenant_id: uuid.UUID, start: dt.datetime) -> dict[tuple[int, int], int]:
    """Return the spend of the month in which the replay starts, from before its start."""
    month = start.replace(day=1)
    total = usage_total(UsagePeriod(since=month, until=start, tenant_ids=[tenant_id]))
    return defaultdict(int, {(month.year, month.month): total.cost_microusd})


def _records(tenant_id: uuid.UUID, start: dt.datetime) -> list[Any]:
    records = UsageRecord.objects.filter(tenant_id=tenant_id, started_at__gte=start).exclude(model="")
    rows = records.order_by("-started_at").values_list(*COLUMNS, named=True)[:MAX_RECORDS]
    return list(rows)[::-1]
