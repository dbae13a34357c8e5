"""Admin pages of usage: sums by key with charts, filters, and one request found by any id or a pasted key."""

from __future__ import annotations

import datetime as dt
import re
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone, translation

from backoffice.display.times import relative_time
from inference_worker.protocol.messages import Outcome
from tenants.ledger.store import facts_store
from tenants.models import ApiKey, Membership, UsageRecord
from tests.tenants.facts import end_fact, meter_fact, refused_fact, start_fact
from tests.usage.records import usage_record

if TYPE_CHECKING:
    from tests.people import Cast

pytestmark = pytest.mark.django_db
SUMS = "/admin/tenants/usagerecord/sums/"
REQUEST = "/admin/tenants/auditrecord/request/"
MARCH = {"since": "2026-03-01", "until": "2026-03-31"}


def staff_of(cast: Cast, tenant: str) -> Client:
    """Return a client of staff who may view everything of one tenant."""
    user = User.objects.create_user(f"staff-{tenant}", is_staff=True)
    user.user_permissions.set(Permission.objects.all())
    Membership.objects.create(tenant=getattr(cast, tenant), user=user, role="viewer")
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def keys(cast: Cast) -> dict[str, ApiKey]:
    """The keys of both tenants, with usage at the end of the first of March in UTC."""
    keys = {tenant.slug: ApiKey.objects.get(tenant=tenant) for tenant in (cast.acme, cast.globex)}
    at = "2026-03-01T20:00:00+00:00"
    usage_record(at, tenant=cast.acme, key=keys["acme"], model="tiny", cost_microusd=250)
    usage_record(at, tenant=cast.globex, key=keys["globex"], model="large", cost_microusd=1_500_000)
    return keys


@pytest.mark.case("admin.1")
def test_the_key_that_cost_most_comes_first_and_leads_to_its_records(
    admin: Client, keys: dict[str, ApiKey]
) -> None:
    page = admin.get(SUMS, MARCH)
    rows = page.context["table"]["rows"]
    assert [keys["globex"].prefix in str(row[0]) for row in rows] == [True, False]
    assert "$1.50" in rows[0]
    link = str(rows[0][-1]).split('"')[1].replace("&amp;", "&")
    query = parse_qs(urlsplit(link).query)
    assert query["key__id__exact"] == [str(keys["globex"].id)]
    records = admin.get(link)
    assert records.status_code == 200
    assert [record.key for record in records.context["cl"].result_list] == [keys["globex"]]
    assert [name for name, _ in page.context["charts"]] == ["Cost by day ($)", "Requests by day"]
    assert '"2026-03-31"' in page.context["charts"][0][1]


def test_days_are_those_of_the_chosen_zone(admin: Client, keys: dict[str, ApiKey]) -> None:
    def requests(day: str, zone: str) -> str:
        page = admin.get(SUMS, {"since": day, "until": day, "tz": zone})
        return str(dict(page.context["totals"])["Requests"])

    assert requests("2026-03-01", "UTC") == "2"
    assert requests("2026-03-01", "Asia/Kolkata") == "0"
    assert requests("2026-03-02", "Asia/Kolkata") == "2"


@pytest.mark.parametrize("by", ["tenant", "model", "endpoint"])
def test_usage_can_be_summed_by_other_columns_and_filtered(
    admin: Client, cast: Cast, keys: dict[str, ApiKey], by: str
) -> None:
    query = {
        **MARCH,
        "by": by,
        "key": f"sk-cy-{keys['acme'].prefix}-…",
        "tenant": str(cast.acme.id),
        "model": "tiny",
    }
    rows = admin.get(SUMS, query).context["table"]["rows"]
    assert len(rows) == 1
    assert "$0.00025" in rows[0]
    assert admin.get(str(rows[0][-1]).split('"')[1].replace("&amp;", "&")).status_code == 200


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"tz": "Mars/Olympus"}, "tz"),
        ({"since": "yesterday"}, "since"),
        ({"until": "9999-12-31"}, "until"),
        ({"since": "0001-01-01", "tz": "Pacific/Kiritimati"}, "since"),
        ({"since": "2026-03-02", "until": "2026-03-01"}, "__all__"),
        ({"since": "2020-01-01", "until": "2026-03-01"}, "__all__"),
        ({"by": "user"}, "by"),
        ({"key": "abcdefghijkl"}, "key"),
        ({"tenant": "x"}, "tenant"),
    ],
)
@pytest.mark.case("admin.11")
def test_a_wrong_value_is_named(admin: Client, query: dict[str, str], field: str) -> None:
    page = admin.get(SUMS, query)
    assert page.status_code == 200
    assert set(page.context["form"].errors) == {field}
    assert "table" not in page.context


@pytest.mark.criterion("6.2")
def test_staff_see_the_sums_and_requests_of_their_tenants_only(cast: Cast, keys: dict[str, ApiKey]) -> None:
    client = staff_of(cast, "acme")
    page = client.get(SUMS, MARCH)
    assert keys["globex"].prefix not in page.content.decode()
    assert dict(page.context["totals"])["Requests"] == "1"
    assert "globex" not in page.content.decode()
    foreign = client.get(SUMS, {**MARCH, "tenant": str(cast.globex.id)})
    assert set(foreign.context["form"].errors) == {"tenant"}
    for text in (UsageRecord.objects.get(key=keys["globex"]).request_id, keys["globex"].prefix):
        assert client.get(REQUEST, {"id": text}).context["matches"] == []
        assert client.get(REQUEST, {"id": text}).context["sections"] == []
    listing = "/admin/tenants/usagerecord/"
    for query in ({}, {"key__id__exact": str(keys["globex"].id)}, {"tenant__id__exact": str(cast.globex.id)}):
        page = client.get(listing, query)
        assert page.status_code == 200
        assert keys["globex"].prefix not in page.content.decode()
        assert "globex" not in page.content.decode().replace(str(cast.globex.id), "")
    own = client.get(listing, {"key__id__exact": str(keys["acme"].id)}).content.decode()
    assert f"acme (sk-cy-{keys['acme'].prefix}" in own, "the chosen key is named"


@pytest.mark.case("admin.1")
def test_pages_of_keys_and_tenants_lead_to_their_usage(
    admin: Client, cast: Cast, keys: dict[str, ApiKey]
) -> None:
    for page in (f"apikey/{keys['acme'].id}", f"tenant/{cast.acme.id}"):
        sums = admin.get(f"/admin/tenants/{page}/usage/", follow=True)
        assert sums.context["form"].is_valid(), page
        records = admin.get(f"/admin/tenants/{page}/requests/", follow=True)
        assert [record.key for record in records.context["cl"].result_list] == [keys["acme"]]


@pytest.mark.case("admin.12")
def test_buttons_need_the_right_to_view_usage(cast: Cast, keys: dict[str, ApiKey]) -> None:
    user = User.objects.create_user("keys-only", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__endswith="apikey"))
    Membership.objects.create(tenant=cast.acme, user=user, role="owner")
    client = Client()
    client.force_login(user)
    page = client.get(f"/admin/tenants/apikey/{keys['acme'].id}/change/")
    assert page.status_code == 200
    assert f"{keys['acme'].id}/usage/" not in page.content.decode()
    assert client.get(f"/admin/tenants/apikey/{keys['acme'].id}/usage/").status_code == 403
    assert client.get(SUMS).status_code == 403


@pytest.mark.case("admin.1")
def test_records_can_be_filtered_by_key_and_model(admin: Client, keys: dict[str, ApiKey]) -> None:
    def models(query: dict[str, str]) -> list[str]:
        page = admin.get("/admin/tenants/usagerecord/", query)
        return [record.model for record in page.context["cl"].result_list]

    assert models({"key__id__exact": str(keys["acme"].id)}) == ["tiny"]
    assert models({"model": "large"}) == ["large"]
    assert models({"model": "none"}) == []
    assert models({"started_at__gte": "2026-03-01 20:00:00+00:00"}) == ["large", "tiny"]
    assert models({"started_at__gte": "2026-03-02 00:00:00+00:00"}) == []
    listing = admin.get("/admin/tenants/usagerecord/").content.decode()
    assert keys["acme"].prefix in listing
    assert "$0.00025" in listing


@pytest.fixture
def refused_id(cast: Cast) -> str:
    """The id of a request that was refused for a parameter."""
    end = end_fact(
        "req_0123456789abcdef",
        attempt=0,
        tenant_id=str(cast.acme.id),
        key_id=str(ApiKey.objects.get(tenant=cast.acme).id),
        status=400,
        outcome=Outcome.REFUSED,
        error_code="decimal_above_max_value",
        correlation_id="trace-7",
    )
    end = msgspec.structs.replace(end, model=None, requested_model="tiny", error_param="temperature")
    facts_store([end], now=timezone.now())
    return end.request_id


@pytest.mark.case("admin.2")
@pytest.mark.parametrize("text", ["req_0123456789abcdef", "req_0123456", "trace-7", " trace-7 "])
def test_one_page_says_why_a_request_failed(admin: Client, refused_id: str, text: str) -> None:
    page = admin.get(REQUEST, {"id": text})
    values = {name: value for _, section in page.context["sections"] for name, value in section}
    assert values["parameter at fault"] == "temperature"
    assert values["requested model"] == "tiny"
    assert values["message to the client"].startswith("Invalid 'temperature'")
    assert values["method"] == "POST"
    assert values["endpoint"] == "/v1/chat/completions"
    assert values["remedy"]
    assert "UTC" in values["time"]


@pytest.mark.case("admin.17")
def test_the_page_of_a_served_request_has_its_usage(admin: Client) -> None:
    facts_store([start_fact(), meter_fact(), end_fact()], now=timezone.now())
    page = admin.get(REQUEST, {"id": "r1"})
    values = {name: value for _, section in page.context["sections"] for name, value in section}
    assert (values["prompt tokens"], values["completion tokens"], values["cost"]) == ("11", "7", "$0.00")
    assert (values["total"], values["queue"], values["speed"]) == ("1.250 s", "0.010 s", "10.0 tokens/s")
    record = UsageRecord.objects.get()
    detail = admin.get(f"/admin/tenants/usagerecord/{record.pk}/request/")
    assert detail.headers["location"] == f"{REQUEST}?id=r1"
    detail_page = admin.get(f"/admin/tenants/usagerecord/{record.pk}/change/").content.decode()
    assert "1.250 s" in detail_page
    assert "1: w-1, completed, 11 + 7 tokens, 0.700 s" in detail_page
    assert re.search(r"\d{10}\.\d", detail_page) is None, "no raw times"


@pytest.mark.case("admin.9")
def test_a_pasted_key_in_any_form_finds_its_requests(admin: Client, cast: Cast, refused_id: str) -> None:
    key = ApiKey.objects.get(tenant=cast.acme)
    for text in (cast.acme_key, f"sk-cy-{key.prefix}-…", f"sk-cy-{key.prefix}", key.prefix):
        page = admin.get(REQUEST, {"id": text})
        assert page.context["key"] == key, text
        assert [match["id"] for match in page.context["matches"]] == [refused_id]
    assert f"/admin/tenants/apikey/{key.id}/change/" in page.content.decode()


def test_unknown_ids_find_nothing_and_say_so(admin: Client) -> None:
    assert "No request is recorded" in admin.get(REQUEST, {"id": "req_unknown"}).content.decode()
    assert "No request is recorded" not in admin.get(REQUEST).content.decode()
    assert set(admin.get(REQUEST, {"id": "x" * 301}).context["form"].errors) == {"id"}
    several = [end_fact(f"req_{number}", correlation_id="same", attempt=0) for number in range(2)]
    facts_store(several, now=timezone.now())
    assert len(admin.get(REQUEST, {"id": "same"}).context["matches"]) == 2


@pytest.mark.criterion("6.4")
def test_counts_of_refusals_have_a_page(admin: Client) -> None:
    facts_store([refused_fact()], now=timezone.now())
    page = admin.get("/admin/usage/refusalcount/").content.decode()
    assert "192.0.2.0/24" in page
    assert "rate_limit_exceeded" in page


def test_the_number_of_queries_does_not_depend_on_the_records(admin: Client, keys: dict[str, ApiKey]) -> None:
    def queries(path: str) -> int:
        with CaptureQueriesContext(connection) as captured_queries:
            assert admin.get(path, MARCH if path == SUMS else {}).status_code == 200
        return len(captured_queries)

    paths = (SUMS, "/admin/tenants/usagerecord/", "/admin/tenants/auditrecord/", "/admin/usage/refusalcount/")
    before = [queries(path) for path in paths]
    at = dt.datetime(2026, 3, 5, tzinfo=dt.UTC)
    owners = [(key.tenant, key) for key in keys.values()]
    for number in range(30):
        tenant, key = owners[number % 2]
        usage_record(at, tenant=tenant, key=key, model=f"m{number}")
    facts_store([refused_fact(f"f{number}") for number in range(5)], now=at)
    facts_store([end_fact(f"r{number}", attempt=0) for number in range(5)], now=at)
    after = [queries(path) for path in paths]
    assert [a - b <= 1 for a, b in zip(after, before, strict=True)] == [True] * len(paths), (before, after)
    assert max(after) <= 14


@pytest.mark.case("admin.15")
def test_times_are_relative_with_the_exact_time_and_zone_on_hover(
    admin: Client, keys: dict[str, ApiKey]
) -> None:
    page = admin.get("/admin/tenants/usagerecord/").content.decode()
    assert 'title="2026-03-01 20:00:00 UTC"' in page
    assert re.search(r">\s*Started \(UTC\)\s*<", page)
    now = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)
    assert relative_time(now - dt.timedelta(hours=3), now) == "3\xa0hours ago"
    assert relative_time(now + dt.timedelta(days=2), now) == "in 2\xa0days"
    assert relative_time(now - dt.timedelta(seconds=5), now) == "just now"
    with translation.override("zh-hans"):
        assert relative_time(now - dt.timedelta(hours=3), now) == "3\xa0小时前"
