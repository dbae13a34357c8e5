"""The usage records behind a sum on the usage page, and a check that they add up to it."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from django.db.models import Count, Q, QuerySet, Sum
from django.db.models.functions import Coalesce
from django.utils.translation import gettext

from api.console.usage.sums import OF_TENANT, Breakdown, part_label
from tenants.models import ApiKey, Tenant, UsageRecord
from tenants.usage.sums import NOTHING, Dimension, UsagePeriod, UsageSum, records_of, usage_groups

COMPARED = ("requests", "prompt_tokens", "completion_tokens", "trained_tokens", "cost_microusd")


@dataclass(frozen=True, slots=True)
class SelectedRecords:
    """Usage records with two sums: one of the records themselves, one of the roll-ups.

    ``filters``: what the records have in common, as pairs of a column's name and a label.
    """

    records: QuerySet[UsageRecord]
    filters: Sequence[tuple[str, str]]
    record_sums: UsageSum
    rollup_sums: UsageSum
    fault: str = ""

    @property
    def agrees(self) -> bool:
        """True if records and roll-ups have the same sums."""
        return all(getattr(self.record_sums, name) == getattr(self.rollup_sums, name) for name in COMPARED)


def select_records(tenant: Tenant, query: Mapping[str, str], period: UsagePeriod) -> SelectedRecords:
    """Return the records of a period, filtered by the query's model, endpoint, key and member."""
    filters = {name: query[name] for name in Breakdown.values if name in query}
    period = replace(period, model=filters.get("model"), endpoint=filters.get("endpoint"))
    fault = ""
    if filters.get("key"):
        try:
            period = replace(period, key_id=uuid.UUID(filters["key"]))
        except ValueError:
            fault = gettext("“key” is %(value)s, which is not the id of a key.") % {
                "value": filters.pop("key")[:40]
            }
    elif "key" in filters:
        period = replace(period, has_no_key=True)
    keys = _keys_of(tenant, filters["member"]) if "member" in filters else None
    records = records_of(period)
    if keys is not None:
        records = records.filter(key=None) if None in keys else records.filter(key__in=keys)
    labels = [
        (str(Breakdown(name).label), part_label(tenant, Breakdown(name), value))
        for name, value in filters.items()
    ]
    return SelectedRecords(records, labels, _sums(records), _rollup_sums(period, keys), fault)


def _keys_of(tenant: Tenant, member: str) -> set[uuid.UUID | None]:
    """Return the ids of the keys whose usage is attributed to a member.

    For usage without a key, which has no member, return ``{None}``.
    """
    if not member:
        return {None}
    unheld = Q(user=None, service_account=None)
    if member == OF_TENANT:
        holders = unheld & Q(created_by=None)
    else:
        creator = unheld & Q(created_by__username=member)
        holders = Q(user__username=member) | Q(service_account__name=member) | creator
    return set(ApiKey.objects.filter(holders, tenant=tenant).values_list("id", flat=True))


def _sums(records: QuerySet[UsageRecord]) -> UsageSum:
    columns = {name: Coalesce(Sum(name), 0) for name in COMPARED[1:]}
    return UsageSum(**records.order_by().aggregate(requests=Count("pk"), **columns))


def _rollup_sums(period: UsagePeriod, keys: set[uuid.UUID | None] | None) -> UsageSum:
    groups = usage_groups(period, [Dimension.KEY], measures=COMPARED)
    if keys is not None:
        groups = [group for group in groups if group.labels[Dimension.KEY] in keys]
    return sum((group.sum for group in groups), NOTHING)
