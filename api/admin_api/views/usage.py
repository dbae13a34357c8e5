"""Sums of usage."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Sequence
from typing import Any
from zoneinfo import ZoneInfo

from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response

from api.admin_api.access import OPERATE, READ
from api.admin_api.base import answer
from api.admin_api.document import operation
from api.admin_api.schemas import records as schemas
from api.admin_api.views.records import RecordsView, period_of, zone_of
from api.openai.errors.parameters import InvalidValue
from tenants.models import ApiKey
from tenants.selectors import tenant_names
from tenants.usage.sums import (
    Dimension,
    UsageGroup,
    UsagePeriod,
    UsageSum,
    quarter_start,
    usage_groups,
    usage_total,
)
from tenants.usage.zones import QUARTER, day_start

DEFAULT_DAYS = 30
MAX_ROWS = 1000
MAX_DAYS = 3660


class UsageView(RecordsView):
    """Sums of a tenant's usage."""

    access = {"GET": READ}

    @operation(
        "Sum usage by one or more of tenant, key, model, endpoint, and day or hour",
        schemas.UsageSums,
        query=schemas.UsageQuery,
    )
    def get(self, request: Request) -> Response:
        """Return sums of usage."""
        query = self.query(schemas.UsageQuery)
        zone = zone_of(query)
        period = self._period(query, zone)
        if query.by is None:
            rows = [_row({}, usage_total(period))]
        else:
            rows = _group_rows(usage_groups(period, query.by, zone=zone, limit=MAX_ROWS), query.by)
        return answer(schemas.UsageSums(since=period.since, until=period.until, data=rows))

    def _period(self, query: schemas.UsageQuery, zone: ZoneInfo) -> UsagePeriod:
        """Return the period of the sums. Raises InvalidValue."""
        since, until = period_of(query)
        now = quarter_start(timezone.now()) + QUARTER
        until = until or now
        if since is None:
            since = _default_start(min(until, now), zone)
        for name, moment in (("since", since), ("until", until)):
            if moment != quarter_start(moment):
                raise InvalidValue(param=name, reason="sums begin and end on a quarter of an hour")
        if since >= until:
            raise InvalidValue(param="since", reason="it is in the future, so it needs an until")
        if until - since > dt.timedelta(days=MAX_DAYS):
            name = "until" if query.since is None else "since"
            raise InvalidValue(param=name, reason=f"the period is longer than {MAX_DAYS} days")
        return UsagePeriod(since=since, until=until, tenant_ids=self.tenant_ids)


def _default_start(until: dt.datetime, zone: ZoneInfo) -> dt.datetime:
    """Return the start of a period that has only an end. Raises InvalidValue."""
    try:
        return day_start(until.astimezone(zone).date() - dt.timedelta(days=DEFAULT_DAYS - 1), zone)
    except OverflowError:
        raise InvalidValue(param="until", reason="it is too near the first year") from None


class AllUsageView(UsageView):
    """Sums of the usage of all tenants."""

    access = {"GET": OPERATE}


def _group_rows(groups: Sequence[UsageGroup], by: Sequence[Dimension]) -> list[schemas.UsageSum]:
    names = {dimension: _names(dimension, [group.labels[dimension] for group in groups]) for dimension in by}
    return [
        _row(
            {
                dimension.value: names[dimension].get(label, _text(label))
                for dimension, label in group.labels.items()
            },
            group.sum,
        )
        for group in groups
    ]


def _names(dimension: Dimension, labels: Sequence[object]) -> dict[Any, str]:
    ids = [label for label in labels if isinstance(label, uuid.UUID)]
    if dimension is Dimension.KEY:
        return dict(ApiKey.objects.across_tenants().filter(pk__in=ids).values_list("pk", "prefix"))
    return dict(tenant_names()) if dimension is Dimension.TENANT else {}


def _text(label: object) -> str | None:
    if isinstance(label, dt.date):
        return label.isoformat()
    return None if label is None else str(label)


def _row(groups: dict[str, str | None], total: UsageSum) -> schemas.UsageSum:
    return schemas.UsageSum(
        group=next(iter(groups.values())) if len(groups) == 1 else None,
        groups=groups,
        requests=total.requests,
        completed=total.completed,
        cancelled=total.cancelled,
        failed=total.failed,
        refused=total.refused,
        lost=total.lost,
        prompt_tokens=total.prompt_tokens,
        cached_tokens=total.cached_tokens,
        completion_tokens=total.completion_tokens,
        trained_tokens=total.trained_tokens,
        cost_microusd=total.cost_microusd,
    )
