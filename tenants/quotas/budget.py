"""The budget that is left according to the ledger, for work that no gateway reserves, such as training."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from django.conf import settings
from django.utils import timezone

from tenants.limits.columns import UsageLimits
from tenants.models import ApiKey, Tenant
from tenants.quotas.amounts import SPEND, Limit, LimitScope, limit_values, spend_field, utc_day, with_defaults
from tenants.quotas.figures import ScopeFigures, tenant_figures


@dataclass(frozen=True, slots=True)
class Shortage:
    """A budget that doesn't cover a cost: its value and what is spent or reserved, in micro-dollars."""

    scope: LimitScope
    limit: Limit
    value: int
    use: int


def budget_shortage(tenant: Tenant, key: ApiKey | None, cost: int) -> Shortage | None:
    """Return a budget of the tenant or the key that doesn't cover ``cost``, None if all do.

    Of several, it is the smallest that is below the cost, or else the one that is renewed last. A budget that
    is used up covers nothing, even what is free.
    """
    now = timezone.now()
    figures = tenant_figures(tenant.id, now)
    scopes = [(LimitScope.TENANT, with_defaults(tenant.limits(), settings.CYLLM), figures.tenant)]
    if key is not None:
        scopes.append((LimitScope.KEY, key.limits(), figures.keys[str(key.id)]))
    shortages = [
        Shortage(scope, limit, value, use)
        for scope, limits, scope_figures in scopes
        for limit, value, use in _budgets(limits, scope_figures, utc_day(now.timestamp()))
        if use >= value or use + cost > value
    ]
    permanent_shortages = [shortage for shortage in shortages if shortage.value < max(cost, 1)]
    if permanent_shortages:
        return min(permanent_shortages, key=lambda shortage: shortage.value)
    return max(shortages, key=lambda shortage: shortage.limit, default=None)


def _budgets(limits: UsageLimits, figures: ScopeFigures, day: str) -> Iterator[tuple[Limit, int, int]]:
    for limit in SPEND:
        value = limit_values(limits)[limit - 1]
        if value is not None:
            yield limit, value, figures.spend[spend_field(limit, day)]
