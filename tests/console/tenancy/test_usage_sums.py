"""Sums of usage by local days and hours, and by model, key, endpoint and member."""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

import pytest
from django.core.exceptions import ValidationError
from django.test import Client

from api.console.usage.period import Period, period_from
from api.console.usage.sums import OF_TENANT, Breakdown, usage_table
from tenants.keys.services import key_create
from tests.people import Cast
from tests.usage.records import usage_at

pytestmark = pytest.mark.django_db
NOW = dt.datetime(2026, 11, 10, 20, 0, tzinfo=dt.UTC)
DAY = dt.date(2026, 11, 10)


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kolkata", "America/Los_Angeles", "Pacific/Chatham"])
def test_the_days_of_a_zone_sum_to_the_range_and_every_record_is_in_its_local_day(
    cast: Cast, zone: str
) -> None:
    local = ZoneInfo(zone)
    midnights = [dt.datetime(2026, 11, day, tzinfo=tz) for tz in (dt.UTC, local) for day in (9, 10)]
    moments = [moment + dt.timedelta(seconds=shift) for moment in midnights for shift in (-1, 0)]
    usage_at(cast.acme, *moments)
    period = Period(dt.date(2026, 11, 6), dt.date(2026, 11, 11), local)
    days = [bucket.date() for bucket in period.buckets()]
    expected = [sum(moment.astimezone(local).date() == day for moment in moments) for day in days]
    table = usage_table(cast.acme, period, Breakdown.MODEL)
    assert [day.requests for day in table.by_bucket] == expected
    assert expected[0] == 0
    assert (table.total.requests, table.total.tokens, table.total.cost_microusd) == (8, 120, 160)


@pytest.mark.parametrize("zone", ["Asia/Kolkata", "America/Los_Angeles"])
def test_a_short_range_is_cut_into_local_hours_even_when_clocks_go_back(cast: Cast, zone: str) -> None:
    day = dt.date(2026, 11, 1)  # 25 hours in Los Angeles
    period = Period(day, day, ZoneInfo(zone), by_hour=True)
    buckets = period.buckets()
    assert len(buckets) == (25 if "Los" in zone else 24)
    usage_at(cast.acme, *(bucket.astimezone(dt.UTC) + dt.timedelta(minutes=59) for bucket in buckets))
    usage_at(cast.acme, period.start - dt.timedelta(seconds=1), period.end)
    table = usage_table(cast.acme, period, Breakdown.MODEL)
    assert [hour.requests for hour in table.by_bucket] == [1] * len(buckets)


def test_the_parts_of_each_dimension_sum_to_the_whole(cast: Cast) -> None:
    own, _ = key_create(tenant=cast.acme, name="own", actor="t", created_by=cast.member)
    usage_at(cast.acme, NOW, NOW, key=own, model="big", endpoint="/v1/embeddings")
    usage_at(cast.acme, NOW, key=None)
    usage_at(cast.globex, NOW)
    period = Period(DAY, DAY, ZoneInfo("UTC"))
    rows = {
        breakdown: [
            (part.label, part.total.requests) for part in usage_table(cast.acme, period, breakdown).parts
        ]
        for breakdown in Breakdown
    }
    assert rows == {
        Breakdown.MODEL: [("big", 2), ("tiny", 1)],
        Breakdown.KEY: [(f"own ({own.prefix})", 2), ("without a key", 1)],
        Breakdown.ENDPOINT: [("/v1/embeddings", 2), ("/v1/chat/completions", 1)],
        Breakdown.MEMBER: [("member", 2), ("without a key", 1)],
    }


def test_the_period_comes_from_the_address_then_from_the_browsers_zone() -> None:
    default = period_from({}, {"cyllm_tz": "Asia/Kolkata"}, NOW)
    assert (default.last, default.zone.key) == (dt.date(2026, 11, 11), "Asia/Kolkata")
    assert (default.last - default.first).days == 13
    usage_period = period_from({"from": "2026-11-01", "to": "2026-11-03", "tz": "UTC"}, {}, NOW)
    assert (usage_period.first, usage_period.last, usage_period.by_hour) == (
        dt.date(2026, 11, 1),
        dt.date(2026, 11, 3),
        True,
    )
    assert period_from({}, {"cyllm_tz": "No/Where"}, NOW).zone.key == "UTC"
    future = period_from({"to": "2026-12-24"}, {}, NOW)
    assert (future.first, future.last) == (dt.date(2026, 10, 28), dt.date(2026, 12, 24)), (
        "with its usage so far"
    )


@pytest.mark.case("admin.11")
@pytest.mark.parametrize(
    ("query", "name"),
    [
        ({"tz": "Nowhere"}, "tz"),
        ({"from": "yesterday"}, "from"),
        ({"to": "9999-12-31"}, "to"),
        ({"from": "2026-11-02", "to": "2026-11-01"}, "from"),
        ({"from": "2020-01-01", "to": "2026-11-01"}, "from"),
    ],
)
def test_a_bad_parameter_is_named(query: dict[str, str], name: str) -> None:
    with pytest.raises(ValidationError) as excinfo:
        period_from(query, {}, NOW)
    assert excinfo.value.code == name


def test_the_filters_of_usage_records_are_named_as_in_the_table_they_come_from(cast: Cast) -> None:
    key, _ = key_create(tenant=cast.acme, name="nightly", actor="t", created_by=cast.member)
    foreign_key, _ = key_create(tenant=cast.globex, name="secret", actor="t")
    queries = {
        f"key={key.id}": f"API key: nightly ({key.prefix})",
        f"key={foreign_key.id}": "API key: deleted",
        "key=": "API key: without a key",
        "member=": "Member: without a key",
        f"member={OF_TENANT}": "Member: the tenant",
        "member=owner": "Member: owner",
        "model=tiny": "Model: tiny",
    }
    client = Client()
    client.force_login(cast.owner)
    for query, label in queries.items():
        page = client.get(f"/console/acme/usage/records/?{query}").content.decode()
        assert f"<li>{label}</li>" in page
