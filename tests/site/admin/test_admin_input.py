"""Unusable input on every admin URL: a client error or a usable page, never a failure and never a loop."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle

import pytest

from tests.people import Cast, make_superuser
from tests.site.harness.admin_urls import AdminUrl, admin_urls
from tests.site.harness.admin_visitor import Visitor
from tests.site.harness.admin_visitor import plain_error_pages as plain_error_pages

pytestmark = [pytest.mark.django_db, pytest.mark.case("clients.29")]

IDS = ("not-a-uuid", "%00", "a%00b", "_00", "%FF%FE", "9" * 40, "-1", "1.5", "a" * 3000, "0", "%C3%28")
NUL_QUERIES = ("q=a%00b", "a%00b=1", "_changelist_filters=q%3Da%2500b", "tenant__id__exact=%00", "p=%00")
NUL_FIELDS = ("username", "action", "_selected_action", "q", "a\0b")
LOOKUPS = (
    *("tenant__id__exact=not-a-uuid", "id__exact=" + "9" * 40, "id__exact=x", "pk__in=a,b", "id__gt=1e999"),
    *("at__year=99999999999", "started_at__month=77", "started_at__year=0", "at__day=x", "at__gte=nonsense"),
    *("password__startswith=a", "user__password__regex=%5B", "state=odd", "outcome__exact=odd"),
    *("is_staff__exact=7", "tenant=x", "user=x"),
)
OTHER_QUERIES = (
    *("q=%FF%FE", "p=99999999999999999999", "p=-1", "p=x", "e=1", "o=999.1", "o=x", "all=", "unknown=1"),
    *("_changelist_filters=%FF%3D%26", "_changelist_filters=tenant__id__exact%3Dx", "_popup=x", "_facets=x"),
    *("app_label=x&model_name=y&field_name=z&term=a", "term=a", "_to_field=password"),
    *("s=a&page=0", "s=a&page=999", "s=a&page=x"),
    "app_label=tenants&model_name=apikey&field_name=tenant&term=a&page=" + "9" * 30,
)


@pytest.fixture
def admin(cast: Cast) -> Visitor:
    """A superuser."""
    return Visitor(make_superuser(cast.owner))


def urls(*, has_argument: bool | None = None) -> list[AdminUrl]:
    """Return the admin's URLs, those with or without an argument where that is stated."""
    matching_urls = [url for url in admin_urls() if has_argument in (None, url.has_argument)]
    assert len(matching_urls) > 10
    return matching_urls


@pytest.mark.usefixtures("plain_error_pages")
def test_an_id_that_no_object_can_have_is_not_found(admin: Visitor) -> None:
    faults: list[tuple[str, object]] = []
    for url in urls(has_argument=True):
        for text in IDS:
            status = admin.get(url.path(text)).status
            is_integer_page = url.model not in ("tenants/apikey", "tenants/tenant")
            expected = (302, 400, 403, 404) if is_integer_page else (400, 404)
            # Django's old addresses of objects redirect to the pages that replaced them.
            is_old_address = url.pattern.endswith("/<path:object_id>/") and url.pattern.count("/") == 3
            if status not in expected and not is_old_address and not url.pattern.startswith("r/"):
                faults.append((url.path(text)[:80], status))
            if not admin.is_settled(url.path(text)):
                faults.append((url.path(text)[:80], "unsettled"))
    assert not faults


def test_nul_bytes_in_queries_are_refused(admin: Visitor) -> None:
    """Refused before any view, so each page gets one of the queries."""
    faults = []
    for url, query in zip(urls(), cycle(NUL_QUERIES), strict=False):
        status = admin.get(f"{url.path(1)}?{query}").status
        if status not in (400, 404):
            faults.append((url.path(1), query, status))
    assert not faults


def test_nul_bytes_in_forms_are_refused(admin: Visitor) -> None:
    faults = []
    for url, name in zip(urls(), cycle(NUL_FIELDS), strict=False):
        status = admin.client.post(url.path(1), {name: "a\0b"}).status_code
        if status not in (400, 404):
            faults.append((url.path(1), name, status))
    assert not faults


def queries(url: AdminUrl, number: int) -> Sequence[str]:
    """Return the queries for a URL by its number: all lookups for a list, and parts where URLs share code."""
    if url.has_argument or url.pattern.endswith("/add/"):
        return (*LOOKUPS, *OTHER_QUERIES)[number % 8 :: 8]
    return *LOOKUPS, *OTHER_QUERIES[number % 4 :: 4]


@pytest.mark.usefixtures("plain_error_pages")
def test_no_query_makes_a_page_fail_or_redirect_for_ever(admin: Visitor, cast: Cast) -> None:
    faults = []
    for number, url in enumerate(urls()):
        for query in queries(url, number):
            address = f"{url.path(cast.acme.pk if url.model == 'tenants/tenant' else cast.owner.pk)}?{query}"
            if not admin.is_settled(address):
                faults.append(address)
    assert not faults
