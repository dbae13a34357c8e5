"""Data of the usage chart: stacked bars of the largest parts, per bucket."""

from __future__ import annotations

import datetime as dt

from django.utils.translation import gettext

from api.console.usage.period import Period
from api.console.usage.sums import UsagePart, UsageTable
from tenants.usage.sums import UsageSum, sum_of_all

MAX_SERIES = 6


def chart_data(period: Period, table: UsageTable, now: dt.datetime) -> dict[str, object]:
    """Return labels, series and the number of the incomplete bucket, null if it isn't in the range."""
    starts = [start for start in period.buckets() if start <= now]
    count = len(starts)
    series = [_series(part.label, part.by_bucket[:count]) for part in table.parts[:MAX_SERIES]]
    rest = table.parts[MAX_SERIES:]
    if rest:
        series.append(_series(gettext("others"), _added(rest)[:count]))
    last = count - 1
    incomplete = last if count and period.bucket_end(starts[last]) > now else None
    return {
        "labels": [start.strftime("%m-%d %H:%M" if period.by_hour else "%m-%d") for start in starts],
        "series": series,
        "incomplete": incomplete,
        "incompleteText": gettext("incomplete"),
        "zone": period.zone.key,
    }


def _series(label: str, sums: tuple[UsageSum, ...]) -> dict[str, object]:
    return {
        "label": label or "—",
        "tokens": [usage.tokens for usage in sums],
        "requests": [usage.requests for usage in sums],
        "cost": [usage.cost_microusd / 1e6 for usage in sums],
    }


def _added(parts: tuple[UsagePart, ...]) -> tuple[UsageSum, ...]:
    return tuple(map(sum_of_all, zip(*(part.by_bucket for part in parts), strict=True)))
