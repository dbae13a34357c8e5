"""Sums of usage: exact boundaries of days and hours in any zone, and the records behind each sum."""

from __future__ import annotations

import datetime as dt
import random
import uuid
from collections import Counter
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pytest
from django.core.exceptions import ValidationError
from django.db import connection
from django.test.utils import CaptureQueriesContext

from tenants.models import ApiKey
from tenants.usage import sums
from tenants.usage.sums import (
    Dimension,
    UsageGroup,
    UsagePeriod,
    _group,
    period_of_group,
    records_of,
    spend_microusd,
    usage_groups,
    usage_series,
    usage_total,
)
from tenants.usage.zones import day_start, time_zone
from tests.usage.records import usage_record

if TYPE_CHECKING:
    from tests.people import Cast

pytestmark = pytest.mark.django_db

KOLKATA, BERLIN, KATHMANDU = ZoneInfo("Asia/Kolkata"), ZoneInfo("Europe/Berlin"), ZoneInfo("Asia/Kathmandu")
HAVANA, LORD_HOWE = ZoneInfo("America/Havana"), ZoneInfo("Australia/Lord_Howe")


def utc(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC)


def days_of(zone: ZoneInfo) -> dict[str, int]:
    return {
        str(group.labels[Dimension.DAY]): group.sum.requests
        for group in usage_groups(UsagePeriod(), [Dimension.DAY], zone=zone)
    }


@pytest.mark.parametrize(
    ("zone", "midnight"),
    [
        (ZoneInfo("UTC"), "2026-03-02T00:00:00"),
        (KOLKATA, "2026-03-01T18:30:00"),
        (KATHMANDU, "2026-03-01T18:15:00"),
        (BERLIN, "2026-03-01T23:00:00"),
    ],
)
def test_a_request_belongs_to_the_day_on_the_viewers_clock(zone: ZoneInfo, midnight: str) -> None:
    usage_record(utc(midnight))
    usage_record(utc(midnight) - dt.timedelta(microseconds=1))
    usage_record(utc(midnight) + dt.timedelta(hours=24))
    assert days_of(zone) == {"2026-03-01": 1, "2026-03-02": 1, "2026-03-03": 1}


def test_days_when_clocks_change_have_23_and_25_hours() -> None:
    for hour in range(24 * 3):
        usage_record(utc("2026-03-28T00:00:00") + dt.timedelta(hours=hour))
        usage_record(utc("2026-10-24T00:00:00") + dt.timedelta(hours=hour))
    counts = days_of(BERLIN)
    assert (counts["2026-03-29"], counts["2026-03-30"]) == (23, 24)
    assert (counts["2026-10-25"], counts["2026-10-26"]) == (25, 24)


def test_an_hour_that_occurs_twice_is_two_hours() -> None:
    period = UsagePeriod(since=utc("2026-10-25T00:00:00"), until=utc("2026-10-25T03:00:00"))
    usage_record(utc("2026-10-25T00:30:00"))
    usage_record(utc("2026-10-25T01:30:00"))
    usage_record(utc("2026-10-25T01:45:00"))
    series = usage_series(period, Dimension.HOUR, zone=BERLIN)
    assert [(label.isoformat(), total.requests) for label, total in series] == [
        ("2026-10-25T02:00:00+02:00", 1),
        ("2026-10-25T02:00:00+01:00", 2),
        ("2026-10-25T03:00:00+01:00", 0),
    ]
    groups = usage_groups(period, [Dimension.HOUR], zone=BERLIN)
    behind = [records_of(period_of_group(period, group, zone=BERLIN)).count() for group in groups]
    assert behind == [1, 2]


def test_hours_begin_on_the_viewers_clock() -> None:
    usage_record(utc("2026-03-01T18:29:59"))
    usage_record(utc("2026-03-01T18:30:00"))
    period = UsagePeriod(since=utc("2026-03-01T17:30:00"), until=utc("2026-03-01T20:30:00"))
    series = usage_series(period, Dimension.HOUR, zone=KOLKATA)
    assert [(f"{label:%d %H:%M}", total.requests) for label, total in series] == [
        ("01 23:00", 1),
        ("02 00:00", 1),
        ("02 01:00", 0),
    ]


def test_a_midnight_that_clocks_skip_or_repeat_begins_its_day() -> None:
    assert day_start(dt.date(2026, 3, 8), HAVANA) == utc("2026-03-08T05:00:00")
    assert day_start(dt.date(2026, 11, 1), HAVANA) == utc("2026-11-01T04:00:00")
    usage_record(utc("2026-03-08T04:59:59"))
    usage_record(utc("2026-03-08T05:00:00"))
    assert days_of(HAVANA) == {"2026-03-07": 1, "2026-03-08": 1}


def test_half_an_hour_of_summer_time_loses_no_request() -> None:
    since, until = utc("2026-04-04T12:00:00"), utc("2026-04-04T18:00:00")
    for minutes in range(0, 360, 15):
        usage_record(since + dt.timedelta(minutes=minutes))
    series = usage_series(UsagePeriod(since=since, until=until), Dimension.HOUR, zone=LORD_HOWE)
    assert sum(total.requests for _, total in series) == 24


def test_days_without_usage_are_in_the_series() -> None:
    usage_record(utc("2026-03-02T12:00:00"))
    period = UsagePeriod(since=day_start(dt.date(2026, 3, 1), KOLKATA), until=utc("2026-03-04T00:00:00"))
    series = usage_series(period, Dimension.DAY, zone=KOLKATA)
    assert [(str(day), total.requests, total.cost_microusd) for day, total in series] == [
        ("2026-03-01", 0, 0),
        ("2026-03-02", 1, 100),
        ("2026-03-03", 0, 0),
        ("2026-03-04", 0, 0),
    ]


def test_every_sum_leads_to_the_records_that_make_it_up(cast: Cast) -> None:
    choice = random.Random(3)
    keys = list(ApiKey.objects.order_by("id"))
    for _ in range(120):
        key = choice.choice([*keys, None])
        usage_record(
            utc("2026-03-01T00:00:00") + dt.timedelta(minutes=choice.randrange(4 * 24 * 60)),
            tenant=key.tenant if key else choice.choice([cast.acme, None]),
            key=key,
            model=choice.choice(["tiny", "large"]),
            endpoint=choice.choice(["/v1/completions", "/v1/embeddings"]),
            cost_microusd=choice.randrange(1000),
            outcome=choice.choice(["completed", "failed", "pending"]),
            total_s=choice.choice([None, 1.5]),
        )
    period = UsagePeriod(since=utc("2026-03-01T06:00:00"), until=utc("2026-03-04T00:00:00"))
    total = usage_total(period)
    assert total.cost_microusd == sum(record.cost_microusd for record in records_of(period))
    dimensions = list(Dimension)
    for _ in range(25):
        by = choice.sample(dimensions, k=choice.randrange(1, 4))
        groups = usage_groups(period, by, zone=KOLKATA)
        assert sum(group.sum.cost_microusd for group in groups) == total.cost_microusd
        for group in groups:
            records = list(records_of(period_of_group(period, group, zone=KOLKATA)))
            assert len(records) == group.sum.requests
            assert sum(record.cost_microusd for record in records) == group.sum.cost_microusd
            assert sum(record.outcome == "failed" for record in records) == group.sum.failed
            assert group.sum.total_us == 1_500_000 * group.sum.total_count


def test_the_costliest_key_comes_first_in_one_query(cast: Cast) -> None:
    cheap, dear = ApiKey.objects.get(tenant=cast.acme), ApiKey.objects.get(tenant=cast.globex)
    usage_record("2026-03-01T00:00:00+00:00", tenant=cast.acme, key=cheap, cost_microusd=5)
    usage_record("2026-03-01T09:00:00+00:00", tenant=cast.globex, key=dear, cost_microusd=50)
    with CaptureQueriesContext(
        connection,
    ) as queries:
        groups = usage_groups(UsagePeriod(), [Dimension.KEY], limit=1)
    assert [group.labels[Dimension.KEY] for group in groups] == [dear.id]
    assert len(queries) == 1
    only = usage_groups(UsagePeriod(tenant_ids=[cast.acme.id], model="tiny"), [Dimension.KEY])
    assert [group.labels[Dimension.KEY] for group in only] == [cheap.id]
    assert usage_groups(UsagePeriod(key_id=dear.id, endpoint="/v1/none"), [Dimension.KEY]) == []
    (cost,) = usage_groups(UsagePeriod(key_id=dear.id), [Dimension.KEY], measures=["cost_microusd"])
    assert (cost.sum.cost_microusd, cost.sum.requests) == (50, 0)


@pytest.mark.parametrize("step", [Dimension.DAY, Dimension.HOUR])
@pytest.mark.parametrize("zone", [KATHMANDU, HAVANA, LORD_HOWE])
def test_the_first_lines_of_a_long_period_are_summed_without_reading_the_others(
    cast: Cast, zone: ZoneInfo, step: Dimension, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = utc("2026-04-04T12:00:00")  # clocks change that night at Lord Howe
    for number in range(60):
        for model in ("a", "b", "c"):
            at = start + dt.timedelta(minutes=25 * number)
            usage_record(at, tenant=cast.acme, model=model, cost_microusd=number * len(model))
    by, rows = [step, Dimension.MODEL], Counter[int]()
    lines = usage_groups(UsagePeriod(), by, zone=zone)

    def counted_group(*arguments: Any) -> UsageGroup:
        rows[limit] += 1
        return _group(*arguments)

    monkeypatch.setattr(sums, "_group", counted_group)
    for limit in (1, 2, 3, 4, 500):
        assert usage_groups(UsagePeriod(), by, zone=zone, limit=limit) == lines[:limit]
    if step is Dimension.HOUR:
        assert rows[1] < 20
    assert rows[500] >= len(lines)


def test_spend_counts_from_any_instant(cast: Cast) -> None:
    key = ApiKey.objects.get(tenant=cast.acme)
    usage_record(utc("2026-03-01T10:04:59"), tenant=cast.acme, key=key, cost_microusd=1)
    usage_record(utc("2026-03-01T10:05:00"), tenant=cast.acme, key=key, cost_microusd=10)
    usage_record(utc("2026-03-01T10:15:00"), tenant=cast.acme, key=None, cost_microusd=100)
    usage_record(utc("2026-03-01T10:15:00"), tenant=cast.globex, key=None, cost_microusd=1000)
    assert spend_microusd(cast.acme.id, None, utc("2026-03-01T10:05:00")) == 110
    assert spend_microusd(cast.acme.id, key.id, utc("2026-03-01T10:05:00")) == 10
    assert spend_microusd(cast.acme.id, None, utc("2026-03-01T10:00:00")) == 111
    assert spend_microusd(cast.acme.id, None, utc("2026-03-01T10:15:00")) == 100
    assert spend_microusd(uuid.uuid4(), None, utc("2026-03-01T00:00:00")) == 0


def test_bounds_that_cut_a_quarter_of_an_hour_and_unknown_zones_are_refused() -> None:
    with pytest.raises(ValidationError, match="quarter of an hour"):
        UsagePeriod(since=utc("2026-03-01T10:05:00"))
    for name in ("Mars/Olympus", "../etc/passwd", ""):
        with pytest.raises(ValidationError, match="not a time zone"):
            time_zone(name)
    assert time_zone("Asia/Kolkata") == KOLKATA
    with pytest.raises(ValueError, match="both bounds"):
        usage_series(UsagePeriod(), Dimension.DAY)
