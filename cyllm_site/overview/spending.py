"""Notices of tenants whose spend, with what open jobs reserve, has used up their limits, or nearly."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from django.conf import settings
from django.db.models import Q, Sum
from django.urls import reverse
from django.utils.translation import gettext as _

from backoffice.display.money import dollars
from cyllm_site.overview.notice import Notice
from tenants.models import SpendReservation, Tenant
from tenants.quotas.amounts import with_defaults
from tenants.usage.sums import Dimension, UsagePeriod, usage_groups

NEAR = 0.9
MAX_NOTICES = 5


@dataclass(frozen=True, slots=True)
class _Use:
    """The spend of a tenant and what its jobs reserve against one limit, in micro-dollars."""

    tenant: Tenant
    period: str
    spend: int
    reserved_spend: int
    limit: int

    @property
    def share(self) -> float:
        return (self.spend + self.reserved_spend) / self.limit


def spending_notices(now: dt.datetime, tenant_ids: Collection[uuid.UUID] | None) -> Iterator[Notice]:
    """Yield the tenants that are nearest to a limit, their own or the platform's default. Four queries."""
    near = [use for use in _uses(now, tenant_ids) if use.share >= NEAR]
    for use in sorted(near, key=lambda use: -use.share)[:MAX_NOTICES]:
        values = {
            "tenant": use.tenant.slug,
            "spend": dollars(use.spend),
            "limit": dollars(use.limit),
            "when": use.period,
            "reserved": dollars(use.reserved_spend),
        }
        text = _("%(tenant)s has spent $%(spend)s of $%(limit)s %(when)s.") % values
        if use.reserved_spend:
            text = (
                _("%(tenant)s has spent $%(spend)s of $%(limit)s %(when)s; open jobs reserve $%(reserved)s.")
                % values
            )
        yield Notice(text, reverse("admin:tenants_tenant_change", args=[use.tenant.pk]), use.share >= 1)


def _uses(now: dt.datetime, tenant_ids: Collection[uuid.UUID] | None) -> Iterator[_Use]:
    tenants = _limited_tenants(tenant_ids)
    if not tenants:
        return
    midnight = now.astimezone(dt.UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    ids = [tenant.pk for tenant in tenants]
    of_day, of_month = _spend(ids, midnight), _spend(ids, midnight.replace(day=1))
    reserved_spend = _reserved(ids)
    for tenant in tenants:
        limits = with_defaults(tenant.limits(), settings.CYLLM)
        periods = [
            (_("today"), of_day, limits.spend_per_day_microusd),
            (_("this month"), of_month, limits.spend_per_month_microusd),
        ]
        for period, spend, limit in periods:
            if limit:
                yield _Use(tenant, period, spend.get(tenant.pk, 0), reserved_spend.get(tenant.pk, 0), limit)


def _limited_tenants(tenant_ids: Collection[uuid.UUID] | None) -> list[Tenant]:
    tenants = Tenant.objects.filter(active=True)
    defaults = settings.CYLLM
    if not (defaults.default_spend_per_day_microusd or defaults.default_spend_per_month_microusd):
        tenants = tenants.filter(Q(spend_per_day_microusd__gt=0) | Q(spend_per_month_microusd__gt=0))
    if tenant_ids is not None:
        tenants = tenants.filter(pk__in=tenant_ids)
    return list(tenants)


def _spend(tenant_ids: list[uuid.UUID], since: dt.datetime) -> dict[uuid.UUID, int]:
    groups = usage_groups(UsagePeriod(since=since, tenant_ids=tenant_ids), [Dimension.TENANT])
    labels = [(group.labels[Dimension.TENANT], group.sum.cost_microusd) for group in groups]
    return {label: cost for label, cost in labels if isinstance(label, uuid.UUID)}


def _reserved(tenant_ids: list[uuid.UUID]) -> dict[uuid.UUID, int]:
    reservations = SpendReservation.objects.filter(tenant_id__in=tenant_ids).order_by()
    sums = reservations.values_list("tenant_id").annotate(total=Sum("amount_microusd"))
    return {tenant_id: int(total) for tenant_id, total in sums}
