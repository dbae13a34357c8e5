"""Use of a tenant against its limits. Read from the ledger, so pages never depend on the API's counters."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from django.conf import settings
from django.db.models import Count, F, Sum
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from tenants.models import Tenant, UsageRecord
from tenants.quotas.amounts import with_defaults
from tenants.quotas.figures import open_requests, recent_requests, reserved_spend
from tenants.usage.sums import spend_microusd

NEAR = 0.9


@dataclass(frozen=True, slots=True)
class Budget:
    """The use of one limit; ``limit`` None doesn't limit. Amounts of ``is_money`` are micro-dollars.

    ``reserved_amount``: the part of ``use`` that open fine-tuning jobs reserve. Limits that are never reset,
    such as the one of concurrent requests, have no ``resets_at``.
    """

    title: Promise
    use: int
    limit: int | None
    resets_at: dt.datetime | None
    reserved_amount: int = 0
    is_money: bool = False
    is_rolling: bool = False

    @property
    def share(self) -> float:
        """The used part of the limit, at most 1; 0 without a limit."""
        if self.limit is None:
            return 0.0
        return min(1.0, self.use / self.limit) if self.limit else 1.0

    @property
    def tone(self) -> str:
        """The colour of the bar."""
        if self.limit is None or self.share < NEAR:
            return ""
        return "bad" if self.use >= self.limit else "warn"


def budgets(tenant: Tenant, now: dt.datetime) -> list[Budget]:
    """Return the limits of a tenant, the platform's defaults included. Five queries."""
    limits = with_defaults(tenant.limits(), settings.CYLLM)
    day = now.astimezone(dt.UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    month = day.replace(day=1)
    next_month = (month + dt.timedelta(days=32)).replace(day=1)
    requests, tokens, running = _current(tenant, now)
    reservations = reserved_spend(tenant.id)
    return [
        Budget(
            _("Spend today"),
            spend_microusd(tenant.id, None, day) + reservations,
            limits.spend_per_day_microusd,
            day + dt.timedelta(days=1),
            reservations,
            is_money=True,
        ),
        Budget(
            _("Spend this month"),
            spend_microusd(tenant.id, None, month) + reservations,
            limits.spend_per_month_microusd,
            next_month,
            reservations,
            is_money=True,
        ),
        Budget(_("Requests in the last minute"), requests, limits.requests_per_minute, None, is_rolling=True),
        Budget(_("Tokens in the last minute"), tokens, limits.tokens_per_minute, None, is_rolling=True),
        Budget(_("Running requests"), running, limits.concurrent_requests, None),
    ]


def _current(tenant: Tenant, now: dt.datetime) -> tuple[int, int, int]:
    """Return requests and tokens of the last minute, and the requests that are running."""
    records = UsageRecord.objects.filter(tenant=tenant).order_by()
    row = recent_requests(records, now).aggregate(
        requests=Count("id"),
        tokens=Sum(F("prompt_tokens") + F("completion_tokens")),
    )
    return row["requests"], row["tokens"] or 0, open_requests(records).count()
