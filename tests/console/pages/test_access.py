"""Access to every page of the console, generated from its URLs."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client
from django.urls import URLPattern, reverse

from tests.people import Cast

pytestmark = pytest.mark.django_db

SAMPLES: dict[str, str] = {
    "job_id": "ftjob-none",
    "name": "none",
    "file_id": "file-none",
    "adapter_id": str(uuid.uuid4()),
    "key_id": str(uuid.uuid4()),
    "user_id": "1",
    "action": "cancel",
    "step": "1",
}


def _tenant_patterns() -> Iterator[tuple[str, str]]:
    """Yield the name and the route of every page of a tenant."""
    from api.console import urls

    patterns: list[Any] = urls.urlpatterns
    for pattern in patterns:
        route = str(pattern.pattern)
        if route.startswith("console/<slug:tenant>/"):
            inner_patterns = [pattern] if isinstance(pattern, URLPattern) else pattern.url_patterns
            for each in inner_patterns:
                yield str(each.name), route if each is pattern else route + str(each.pattern)


def _address(name: str, route: str, tenant: str) -> str:
    arguments = re.findall(r"<(?:\w+:)?(\w+)>", route)
    values: dict[str, Any] = {each: SAMPLES.get(each, "none") for each in arguments}
    return reverse(f"console:{name}", kwargs=values | {"tenant": tenant})


def _addresses(tenant: str) -> list[str]:
    return [_address(name, route, tenant) for name, route in _tenant_patterns()]


@pytest.mark.case("serving.13")
def test_strangers_get_the_same_answer_as_for_a_tenant_that_does_not_exist(cast: Cast) -> None:
    browser = Client()
    browser.force_login(cast.stranger)
    addresses = _addresses("acme")
    assert len(addresses) >= 2
    for address in addresses:
        foreign = browser.get(address)
        unknown = browser.get(address.replace("/console/acme/", "/console/none/"))
        assert (foreign.status_code, unknown.status_code) == (404, 404), address
        assert foreign.content.replace(b"acme", b"none") == unknown.content
        assert browser.post(address).status_code == 404, address


def test_anonymous_people_are_sent_to_the_sign_in_page(cast: Cast) -> None:
    for address in (*_addresses("acme"), *_addresses("none")):
        response = Client().get(address)
        assert response.status_code == 302
        assert response["location"].startswith("/console/sign-in/?next=%2Fconsole%2F")
        assert Client().post(address)["location"] == "/console/sign-in/?next=%2Fconsole%2F"


def test_viewers_see_pages_but_change_nothing(cast: Cast) -> None:
    from tenants.members.services import membership_set

    membership_set(tenant=cast.acme, user=cast.member, role="viewer", actor="tests")
    browser = Client()
    browser.force_login(cast.member)
    assert browser.get("/console/acme/jobs/").status_code == 200
    for address in _addresses("acme"):
        assert browser.post(address).status_code in {403, 405}, address


def test_every_page_links_to_the_second_factor_and_this_to_the_console(cast: Cast, client: Client) -> None:
    client.force_login(cast.member)
    assert 'href="/console/two-factor/"' in client.get("/console/acme/jobs/").content.decode()
    assert 'href="/console/"' in client.get("/console/two-factor/").content.decode()


def test_superusers_enter_every_tenant_and_see_the_operators_pages(cast: Cast, admin_client: Client) -> None:
    page = admin_client.get("/console/globex/jobs/")
    assert page.status_code == 200
    assert b'href="/admin/"' in page.content
    member = Client()
    member.force_login(cast.member)
    assert b'href="/admin/"' not in member.get("/console/acme/jobs/").content


def test_the_console_goes_to_the_last_tenant(cast: Cast, admin_client: Client) -> None:
    assert "Choose a tenant" in admin_client.get("/console/").content.decode()
    admin_client.get("/console/globex/jobs/")
    assert admin_client.get("/console/")["location"] == "/console/globex/jobs/"
    member = Client()
    member.force_login(cast.member)
    assert member.get("/console/")["location"] == "/console/acme/jobs/"
    assert member.get("/")["location"] == "/console/"


@pytest.mark.case("admin.4")
def test_the_landing_page_states_the_base_url_in_both_languages() -> None:
    english = Client().get("/", headers={"accept-language": "en"}).content.decode()
    chinese = Client().get("/", headers={"accept-language": "zh-hans"}).content.decode()
    assert "http://testserver/v1" in english
    assert "Sign in" in english
    assert "登录" in chinese
