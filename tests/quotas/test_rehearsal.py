"""Rehearsal of limits on the requests of the last week, and its place in the admin's form."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from tenants.limits.columns import UsageLimits
from tenants.models import ApiKey, Tenant
from tenants.quotas.rehearsal import Rehearsal, limits_rehearse
from tests.usage.records import usage_at

if TYPE_CHECKING:
    from tests.people import Cast

pytestmark = pytest.mark.django_db
SECOND = dt.timedelta(seconds=1)


def _noon() -> dt.datetime:
    """Return noon of the day before yesterday in UTC."""
    day = timezone.now().astimezone(dt.UTC) - dt.timedelta(days=2)
    return day.replace(hour=12, minute=0, second=0, microsecond=0)


@pytest.mark.parametrize(
    ("limits", "refusals"),
    [
        ({}, 0),
        ({"requests_per_minute": 3}, 1),  # the fourth within a minute; the fifth comes later
        ({"requests_per_minute": 4}, 0),
        ({"tokens_per_minute": 30}, 2),  # 15 tokens each
        ({"concurrent_requests": 1}, 3),  # each of the first four lasts 20 s
        ({"spend_per_day_microusd": 60}, 2),  # 20 micro-dollars each
        ({"spend_per_month_microusd": 80}, 1),
    ],
)
def test_each_limit_refuses_what_it_would_have_refused(
    cast: Cast, limits: dict[str, Any], refusals: int
) -> None:
    key, noon = ApiKey.objects.get(tenant=cast.acme), _noon()
    for offset_s in (0, 5, 10, 15, 90):
        start = noon + offset_s * SECOND
        usage_at(cast.acme, start, key=key, ended_at=start + 20 * SECOND)
    usage_at(cast.acme, noon - dt.timedelta(days=40), key=key)  # too old, also for the month
    usage_at(cast.globex, *[noon] * 9)
    rehearsal = limits_rehearse(cast.acme.id, UsageLimits(**limits), now=timezone.now())
    assert rehearsal == Rehearsal(requests=5, refusals=refusals, keys=1 if refusals else 0)


def test_training_counts_towards_spend_only(cast: Cast) -> None:
    noon = _noon()
    usage_at(cast.acme, noon, endpoint="/v1/fine_tuning/jobs", gateway_id="", cost_microusd=50)
    usage_at(cast.acme, noon + SECOND)
    limits = UsageLimits(requests_per_minute=1, spend_per_day_microusd=60)
    assert limits_rehearse(cast.acme.id, limits, now=timezone.now()) == Rehearsal(1, 1, 1)


def test_the_admin_asks_before_it_saves_limits_that_would_have_refused_requests(cast: Cast) -> None:
    usage_at(cast.acme, *[_noon() + number * SECOND for number in range(3)])
    client = Client()
    client.force_login(User.objects.create_superuser("boss"))
    address = reverse("admin:tenants_tenant_change", args=[cast.acme.id])
    form = {"slug": "acme", "name": "Acme", "active": "on", "tier": "standard", "requests_per_minute": "1"}
    page = client.post(address, form)
    assert page.status_code == 200
    assert "2 of 3 requests of the last 7 days would have been refused" in page.content.decode()
    assert Tenant.objects.get(id=cast.acme.id).requests_per_minute is None
    assert client.post(address, form | {"accepts_refusals": "on"}).status_code == 302
    assert Tenant.objects.get(id=cast.acme.id).requests_per_minute == 1
    assert client.post(address, form | {"name": "Acme 2"}).status_code == 302  # unchanged limits
