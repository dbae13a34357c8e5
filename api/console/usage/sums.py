"""Usage of a tenant as its page shows it: by bucket of time, and by model, key, endpoint or member."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Mapping
from dataclasses import dataclass

from django.db import models
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from api.console.usage.period import Period
from tenants.models import ApiKey, Tenant
from tenants.usage.sums import (
    NOTHING,
    Dimension,
    UsageGroup,
    UsagePeriod,
    UsageSum,
    sum_of_all,
    usage_groups,
)

OF_TENANT = "~tenant"  # no name of a user contains "~"
MEASURES = (
    *("requests", "failed", "lost", "prompt_tokens", "cached_tokens", "completion_tokens"),
    *("trained_tokens", "cost_microusd"),
)


class Breakdown(models.TextChoices):
    """Columns by which a page breaks usage down."""

    MODEL = "model", _("model")
    KEY = "key", _("API key")
    ENDPOINT = "endpoint", _("endpoint")
    MEMBER = "member", _("member")


_DIMENSIONS = {
    Breakdown.MODEL: Dimension.MODEL,
    Breakdown.KEY: Dimension.KEY,
    Breakdown.ENDPOINT: Dimension.ENDPOINT,
    Breakdown.MEMBER: Dimension.KEY,
}


@dataclass(frozen=True, slots=True)
class UsagePart:
    """One row of a breakdown. ``value``: of the row in addresses, ``label``: its name."""

    value: str
    label: str
    total: UsageSum
    by_bucket: tuple[UsageSum, ...]


@dataclass(frozen=True, slots=True)
class UsageTable:
    """Usage by bucket and part; parts sum to buckets, and both to the total."""

    parts: tuple[UsagePart, ...]
    by_bucket: tuple[UsageSum, ...]
    total: UsageSum


def sums_period(tenant: Tenant, period: Period) -> UsagePeriod:
    """Return the tenant's records of a page's period."""
    return UsagePeriod(since=period.start, until=period.end, tenant_ids=[tenant.id])


def usage_table(tenant: Tenant, period: Period, breakdown: Breakdown) -> UsageTable:
    """Return the sums named in ``MEASURES``; the costliest part first. Two queries at most."""
    step = Dimension.HOUR if period.by_hour else Dimension.DAY
    dimension = _DIMENSIONS[breakdown]
    groups = usage_groups(sums_period(tenant, period), [step, dimension], zone=period.zone, measures=MEASURES)
    names = _key_names(tenant, breakdown) if dimension is Dimension.KEY else {}
    numbers = {_instant(bucket, period): number for number, bucket in enumerate(period.buckets())}
    columns: dict[tuple[str, str], list[UsageSum]] = {}
    for group in groups:
        part = _part(group, breakdown, names)
        number = numbers[_instant(group.labels[step], period)]
        column = columns.get(part) or columns.setdefault(part, [NOTHING] * len(numbers))
        # The first sum of a cell needs no addition: long periods of many keys have 100,000 cells.
        column[number] = group.sum if column[number] is NOTHING else column[number] + group.sum
    parts = [UsagePart(*part, sum_of_all(sums), tuple(sums)) for part, sums in columns.items()]
    parts.sort(key=lambda part: (-part.total.cost_microusd, -part.total.tokens, part.label))
    by_bucket = tuple(sum_of_all(part.by_bucket[number] for part in parts) for number in range(len(numbers)))
    return UsageTable(tuple(parts), by_bucket, sum_of_all(by_bucket))


def _instant(label: object, period: Period) -> object:
    """Return a bucket's day, or its hour in UTC, by which buckets and sums are matched."""
    if isinstance(label, dt.datetime):
        return label.astimezone(dt.UTC) if period.by_hour else label.date()
    return label


def _part(
    group: UsageGroup, breakdown: Breakdown, names: Mapping[uuid.UUID, tuple[str, str]]
) -> tuple[str, str]:
    """Return the value and the label of the part to which a sum belongs."""
    label = group.labels[_DIMENSIONS[breakdown]]
    if isinstance(label, uuid.UUID):
        return names.get(label) or ("", gettext("deleted"))
    if label:
        return (str(label), str(label))
    return ("", _no_value(breakdown))


def part_label(tenant: Tenant, breakdown: Breakdown, value: str) -> str:
    """Return the label of the part with this value, as in a table of this breakdown."""
    if not value:
        return _no_value(breakdown)
    if breakdown is Breakdown.KEY:
        key = ApiKey.objects.filter(tenant=tenant, id=value).only("name", "prefix").first()
        return _key_label(key.name, key.prefix) if key else gettext("deleted")
    return gettext("the tenant") if value == OF_TENANT else value


def _no_value(breakdown: Breakdown) -> str:
    return gettext("without a key") if _DIMENSIONS[breakdown] is Dimension.KEY else "—"


def _key_label(name: str, prefix: str) -> str:
    return f"{name} ({prefix})"


def _key_names(tenant: Tenant, breakdown: Breakdown) -> dict[uuid.UUID, tuple[str, str]]:
    """Return value and label of each key: its id and name, or its holder for the breakdown by member."""
    columns = ("name", "prefix", "user__username", "service_account__name", "created_by__username")
    names = {}
    for key_id, name, prefix, user, account, creator in ApiKey.objects.filter(tenant=tenant).values_list(
        "id", *columns
    ):
        if breakdown is Breakdown.KEY:
            names[key_id] = (str(key_id), _key_label(name, prefix))
        else:
            holder = user or account or creator or ""
            names[key_id] = (holder, holder) if holder else (OF_TENANT, gettext("the tenant"))
    return names
