"""Sums of usage by tenant, key, model, endpoint, day or hour, and the records behind each sum."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from operator import add, attrgetter
from typing import Any
from zoneinfo import ZoneInfo

from django.core.exceptions import ValidationError
from django.db.models import Q, QuerySet, Sum
from django.db.models.functions import TruncDate
from django.utils.translation import gettext_lazy as _

from tenants.models import UsageRecord
from tenants.usage.models import UsageRollup
from tenants.usage.zones import DAY, QUARTER, day_start, days_between, hour_start, hours_between

UTC = ZoneInfo("UTC")


class Dimension(StrEnum):
    """Columns by which usage is summed."""

    TENANT = "tenant"
    KEY = "key"
    MODEL = "model"
    ENDPOINT = "endpoint"
    DAY = "day"
    HOUR = "hour"


def parse_dimensions(text: str) -> list[Dimension]:
    """Parse names of dimensions, separated by commas. Raises ValueError with a text for people."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    choices = ", ".join(Dimension)
    if not names:
        raise ValueError(f"choose from {choices}")
    for name in names:
        if name not in set(Dimension):
            raise ValueError(f"'{name}' is not one of {choices}")
    if {Dimension.DAY, Dimension.HOUR} <= set(names):
        raise ValueError("choose day or hour, not both")
    return [Dimension(name) for name in dict.fromkeys(names)]


_COLUMNS = {
    Dimension.TENANT: "tenant_id",
    Dimension.KEY: "key_id",
    Dimension.MODEL: "model",
    Dimension.ENDPOINT: "endpoint",
}


@dataclass(frozen=True, slots=True)
class UsagePeriod:
    """The records to sum: those that started at ``since`` or later and before ``until``; None means no bound.

    Both are on a quarter of an hour, else ValidationError. ``tenant_ids``: those that the viewer may see,
    None for all. The others select a single value; ``has_no_key`` the records without a key.
    """

    since: dt.datetime | None = None
    until: dt.datetime | None = None
    tenant_ids: Collection[uuid.UUID] | None = None
    key_id: uuid.UUID | None = None
    has_no_key: bool = False
    model: str | None = None
    endpoint: str | None = None

    def __post_init__(self) -> None:
        for bound in (self.since, self.until):
            if bound is not None and bound != quarter_start(bound):
                raise ValidationError(_("Sums begin and end on a quarter of an hour."), code="not_on_quarter")


@dataclass(frozen=True, slots=True)
class UsageSum:
    """Sums of some records. Costs in micro-dollars; times in microseconds, over ``*_count`` records.

    ``requests`` exceeds the sum of the outcomes by the requests that have not ended.
    """

    requests: int = 0
    completed: int = 0
    cancelled: int = 0
    failed: int = 0
    refused: int = 0
    lost: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    trained_tokens: int = 0
    wasted_tokens: int = 0
    cost_microusd: int = 0
    queue_us: int = 0
    queue_count: int = 0
    first_token_us: int = 0
    first_token_count: int = 0
    total_us: int = 0
    total_count: int = 0

    def __add__(self, other: UsageSum) -> UsageSum:
        return UsageSum(*map(add, _values(self), _values(other)))

    @property
    def tokens(self) -> int:
        """Prompt, completion and trained tokens; cached tokens are part of the prompt."""
        return self.prompt_tokens + self.completion_tokens + self.trained_tokens

    @property
    def failures(self) -> int:
        """Requests that failed, those whose worker was lost included."""
        return self.failed + self.lost

    @property
    def mean_first_token_s(self) -> float | None:
        """Mean time to the first token; None if no record has one."""
        return self.first_token_us / self.first_token_count / 1e6 if self.first_token_count else None


MEASURES = tuple(measure.name for measure in fields(UsageSum))
_values = attrgetter(*MEASURES)
NOTHING = UsageSum()
_SUM_COLUMNS = {f"sum_{name}": name for name in MEASURES}


def sum_of_all(sums: Iterable[UsageSum]) -> UsageSum:
    """Return the sum of many sums, faster than repeated addition."""
    rows = [_values(each) for each in sums if each is not NOTHING]
    return UsageSum(*map(sum, zip(*rows, strict=True))) if rows else NOTHING


Label = uuid.UUID | str | dt.date | dt.datetime | None


@dataclass(frozen=True, slots=True)
class UsageGroup:
    """One line of sums. ``labels``: ids of tenant and key, names of model and endpoint, a day, an hour."""

    labels: dict[Dimension, Label] = field(hash=False)
    sum: UsageSum


def quarter_start(instant: dt.datetime) -> dt.datetime:
    """Return the beginning of the quarter of an hour that contains an instant."""
    return instant.replace(minute=instant.minute // 15 * 15, second=0, microsecond=0)


def usage_total(period: UsagePeriod) -> UsageSum:
    """Return the sum of all records of the period."""
    return _sum_of(_rollups(period).aggregate(**_aggregates()))


def usage_groups(
    period: UsagePeriod,
    by: Sequence[Dimension],
    *,
    zone: ZoneInfo = UTC,
    limit: int | None = None,
    measures: Collection[str] = MEASURES,
) -> list[UsageGroup]:
    """Return sums by some dimensions, in one query: by time if that is one, else the costliest first.

    Days and hours are those of ``zone``. Only ``measures`` are summed, as each costs time; the others are 0.
    ``limit`` needs ``cost_microusd`` and ``requests``.
    """
    rows = _rollups(period)
    columns = [_COLUMNS[dimension] for dimension in by if dimension in _COLUMNS]
    if Dimension.DAY in by:
        rows, columns = rows.annotate(day=TruncDate("bucket_at", tzinfo=zone)), [*columns, "day"]
    if Dimension.HOUR in by:
        columns = [*columns, "bucket_at"]
    is_timed = Dimension.DAY in by or Dimension.HOUR in by
    group_rows: QuerySet[Any, dict[str, Any]] = (
        rows.order_by().values(*columns).annotate(**_aggregates(measures))
    )
    if limit is not None and not is_timed:
        order = ("-sum_cost_microusd", "-sum_requests", *columns)
        return [_group(row, by, zone) for row in group_rows.order_by(*order)[:limit]]
    if limit is not None:
        group_rows = group_rows.order_by("day" if Dimension.DAY in by else "bucket_at")
        # An iterator, because all lines of a long period would need gigabytes.
        groups = _until_complete((_group(row, by, zone) for row in group_rows.iterator()), by, limit)
    else:
        groups = (_group(row, by, zone) for row in group_rows)
    return sorted(_merged(groups), key=lambda group: _order(group, by))[:limit]


def usage_series(
    period: UsagePeriod, step: Dimension, *, zone: ZoneInfo = UTC
) -> list[tuple[dt.date | dt.datetime, UsageSum]]:
    """Return the sum of each day or hour of a period that has both bounds, those without usage included."""
    if period.since is None or period.until is None:
        raise ValueError("a series needs both bounds")
    sums = {group.labels[step]: group.sum for group in usage_groups(period, [step], zone=zone)}
    between: Iterable[dt.date | dt.datetime] = (
        days_between(period.since, period.until, zone)
        if step is Dimension.DAY
        else hours_between(period.since, period.until, zone)
    )
    return [(label, sums.get(label, NOTHING)) for label in between]


def period_of_group(period: UsagePeriod, group: UsageGroup, *, zone: ZoneInfo = UTC) -> UsagePeriod:
    """Return the period narrowed to the records behind one line of its sums."""
    labels: dict[Dimension, Any] = group.labels
    changes: dict[str, Any] = {
        dimension.value: labels[dimension]
        for dimension in (Dimension.MODEL, Dimension.ENDPOINT)
        if dimension in labels
    }
    if Dimension.TENANT in labels:
        changes["tenant_ids"] = [labels[Dimension.TENANT]]
    if Dimension.KEY in labels:
        changes |= {"key_id": labels[Dimension.KEY], "has_no_key": labels[Dimension.KEY] is None}
    if (day := labels.get(Dimension.DAY)) is not None:
        changes |= _narrowed(period, day_start(day, zone), day_start(day + DAY, zone))
    if (hour := labels.get(Dimension.HOUR)) is not None:
        end = hour.astimezone(dt.UTC)
        while hour_start(end, zone) == hour:
            end += QUARTER
        changes |= _narrowed(period, hour.astimezone(dt.UTC), end)
    return replace(period, **changes)


def records_of(period: UsagePeriod) -> QuerySet[UsageRecord]:
    """Return the records behind the sums of a period, newest first."""
    condition = _condition(period)
    if period.since is not None:
        condition &= Q(started_at__gte=period.since)
    if period.until is not None:
        condition &= Q(started_at__lt=period.until)
    records = UsageRecord.objects.select_related("tenant", "key").order_by("-started_at", "-id")
    return records.filter(condition)


def spend_microusd(tenant_id: uuid.UUID, key_id: uuid.UUID | None, since: dt.datetime) -> int:
    """Return the cost of a tenant's requests and training since an instant, or of one key's."""
    next_quarter = quarter_start(since + QUARTER - dt.timedelta(microseconds=1))
    owner = {"tenant_id": tenant_id} if key_id is None else {"tenant_id": tenant_id, "key_id": key_id}
    rollups = UsageRollup.objects.filter(**owner, bucket_at__gte=next_quarter)
    spend = rollups.aggregate(spend=Sum("cost_microusd"))["spend"] or 0
    if next_quarter != since:
        records = UsageRecord.objects.filter(**owner, started_at__gte=since, started_at__lt=next_quarter)
        spend += records.aggregate(spend=Sum("cost_microusd"))["spend"] or 0
    return int(spend)


def _rollups(period: UsagePeriod) -> QuerySet[UsageRollup]:
    condition = _condition(period)
    if period.since is not None:
        condition &= Q(bucket_at__gte=period.since)
    if period.until is not None:
        condition &= Q(bucket_at__lt=period.until)
    return UsageRollup.objects.filter(condition)


def _condition(period: UsagePeriod) -> Q:
    condition = Q()
    if period.tenant_ids is not None:
        ids = [tenant_id for tenant_id in period.tenant_ids if tenant_id is not None]
        tenants = Q(tenant_id__in=ids)
        condition &= tenants | Q(tenant_id=None) if None in period.tenant_ids else tenants
    if period.key_id is not None or period.has_no_key:
        condition &= Q(key_id=period.key_id)
    if period.model is not None:
        condition &= Q(model=period.model)
    if period.endpoint is not None:
        condition &= Q(endpoint=period.endpoint)
    return condition


def _narrowed(period: UsagePeriod, since: dt.datetime, until: dt.datetime) -> dict[str, dt.datetime]:
    return {
        "since": max(since, period.since or since),
        "until": min(until, period.until or until),
    }


def _aggregates(measures: Iterable[str] = MEASURES) -> dict[str, Sum]:
    return {f"sum_{name}": Sum(name) for name in measures}


def _sum_of(row: dict[str, Any]) -> UsageSum:
    values = {_SUM_COLUMNS[column]: value for column, value in row.items() if column in _SUM_COLUMNS}
    return UsageSum(**{name: int(value or 0) for name, value in values.items()})


def _group(row: dict[str, Any], by: Sequence[Dimension], zone: ZoneInfo) -> UsageGroup:
    labels: dict[Dimension, Label] = {}
    for dimension in by:
        if dimension is Dimension.HOUR:
            labels[dimension] = hour_start(row["bucket_at"], zone)
        else:
            labels[dimension] = row[_COLUMNS.get(dimension, dimension.value)]
    return UsageGroup(labels, _sum_of(row))


def _until_complete(
    groups: Iterable[UsageGroup], by: Sequence[Dimension], limit: int
) -> Iterator[UsageGroup]:
    """Yield groups in the order of their times until those of the first ``limit`` lines are complete."""
    lines, last_times = set[tuple[Label, ...]](), list[Label]()
    for group in groups:
        times = _times(group, by)
        if times != last_times and len(lines) >= limit:
            return
        lines.add(tuple(group.labels.values()))
        last_times = times
        yield group


def _merged(groups: Iterable[UsageGroup]) -> list[UsageGroup]:
    """Add up groups with the same labels: the quarters of an hour."""
    groups_by_labels: dict[tuple[Label, ...], UsageGroup] = {}
    for group in groups:
        key = tuple(group.labels.values())
        earlier = groups_by_labels.get(key)
        groups_by_labels[key] = (
            group if earlier is None else UsageGroup(group.labels, earlier.sum + group.sum)
        )
    return list(groups_by_labels.values())


def _order(group: UsageGroup, by: Sequence[Dimension]) -> tuple[object, ...]:
    labels = [str(label) for label in group.labels.values()]
    return (*_times(group, by), -group.sum.cost_microusd, -group.sum.requests, *labels)


def _times(group: UsageGroup, by: Sequence[Dimension]) -> list[Label]:
    return [group.labels[dimension] for dimension in by if dimension in (Dimension.DAY, Dimension.HOUR)]
