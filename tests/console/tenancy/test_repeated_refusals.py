"""Refusals that are counted instead of recorded: their page, its links and their sums."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from django.utils import timezone

from tenants.models import ApiKey
from tenants.usage import refusals
from tenants.usage.filters import RecordFilter, refusal_list
from tests.people import Cast, signed_in
from tests.usage.records import refusal_count

pytestmark = pytest.mark.django_db


def _get(cast: Cast, path: str) -> Any:
    return signed_in(cast.member).get(f"/console/acme/{path}")


def test_repeated_refusals_are_listed_with_their_number_and_linked_from_requests_and_usage(
    cast: Cast,
) -> None:
    key = ApiKey.objects.get(tenant=cast.acme)
    refusal_count(cast.acme, requests=1200, key=key, key_prefix=key.prefix, client_network="192.0.2.0/24")
    refusal_count(cast.acme, requests=30, error_code="ip_not_allowed", status=403)
    refusal_count(cast.acme, requests=500, minute_at=timezone.now() - dt.timedelta(days=20))
    refusal_count(cast.globex, requests=8000)
    requests = _get(cast, "audit/requests/").content.decode()
    assert "In the last 24 hours, 1,230 refusals were only counted." in requests
    assert 'href="/console/acme/audit/refusals/"' in requests
    usage = _get(cast, "usage/?tz=UTC").content.decode()
    assert 'href="/console/acme/audit/refusals/?from=' in usage
    counts = _get(cast, "audit/refusals/?tz=UTC").content.decode()
    assert "In this period, 1,230 refusals were only counted." in counts
    assert counts.count("<tr>") == 3
    longer = _get(cast, "audit/refusals/?from=2020-01-01&tz=UTC")
    assert longer.status_code == 400
    month_ago = timezone.now().date() - dt.timedelta(days=30)
    month = _get(cast, f"audit/refusals/?from={month_ago}").content.decode()
    assert "In this period, 1,730 refusals were only counted." in month
    assert "192.0.2.0/24" in counts
    for query in ("status=403", "code=ip_not_allowed"):
        assert "30 refusals were only" in _get(cast, f"audit/refusals/?{query}").content.decode()
    of_key = _get(cast, f"audit/refusals/?key={key.name}").content.decode()
    assert "1,200 refusals were only" in of_key
    assert "No count matches" in _get(cast, "audit/refusals/?code=none").content.decode()
    assert _get(cast, "audit/refusals/?status=x").status_code == 400


def test_sums_of_refusals_read_a_bounded_number_of_counts(
    cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refusals, "MAX_COUNTS", 2)
    for days in range(3):
        refusal_count(cast.acme, requests=10**days, minute_at=timezone.now() - dt.timedelta(days=days))
    newest = RecordFilter(tenant_ids=[cast.acme.id])
    assert refusals.refusal_sum(refusal_list(newest)) == refusals.RefusalSum(11, is_complete=False)
    since = RecordFilter(tenant_ids=[cast.acme.id], since=timezone.now() - dt.timedelta(days=1.5))
    assert refusals.refusal_sum(refusal_list(since)) == refusals.RefusalSum(11, is_complete=True)
