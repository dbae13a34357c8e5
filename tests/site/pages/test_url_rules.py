"""Every URL of the site has a tenant rule, and ids of another tenant look like unknown ones on every page."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

from api.gateway.urls.table import INTERNAL_URLS, URLS
from inference_worker.registry.services import grant_set, model_register
from tenants.files.models import StoredFile
from tenants.models import ApiKey, Membership
from tests.console.harness.jobs import job_with_steps
from tests.people import Cast
from training.models import FineTuningJob

pytestmark = [pytest.mark.django_db, pytest.mark.criterion("6.2"), pytest.mark.case("serving.13")]

TENANT = "console/<slug:tenant>/"
# Trees with a rule for each of their URLs, and the test that enforces it.
TREES = {
    "admin/": "tests/tenants/test_admin_access.py: every page states its tenant_path",
    "api/admin/v1/": "tests/admin_api/test_access.py: a rule per method of every address",
    TENANT: "here and tests/console/pages/test_access.py",
}
# Pages without data of a tenant, or with data of the signed-in person alone.
WITHOUT_TENANT = {
    *("", "console/", "console/sign-in/", "console/sign-out/", "docs", "docs/", "favicon.ico"),
    *("console/sign-in/code/", "console/sign-in/enrol/", "console/two-factor/", "console/two-factor/change/"),
    *("i18n/setlang/", "jsi18n/", "v1", "v1/", "admin"),
}
OPERATORS = {"console/status/", "console/status/part/"}
PUBLIC_ROUTES = {"/health", "/health/live", "/health/ready", "/openapi.json", "/metrics"}


def patterns(entries: Sequence[Any], prefix: str = "") -> Iterator[str]:
    """Yield the routes of a URL configuration."""
    for entry in entries:
        route = prefix + str(entry.pattern)
        if isinstance(entry, URLResolver):
            yield from patterns(entry.url_patterns, route)
        elif isinstance(entry, URLPattern):
            yield route


def site_routes() -> list[str]:
    """Return the routes of all Django pages."""
    return list(patterns(get_resolver().url_patterns))


def has_rule(route: str) -> bool:
    """Return whether the route is in a tree with rules, or is known to have no tenant."""
    return route.startswith(tuple(TREES)) or route in WITHOUT_TENANT | OPERATORS


def test_every_page_has_a_tenant_rule() -> None:
    assert [route for route in site_routes() if not has_rule(route)] == []


def test_a_new_page_without_a_rule_is_found() -> None:
    assert not has_rule("console/exports/<uuid:export_id>/")


def test_every_route_of_the_api_requires_a_key_or_is_known_to_be_public() -> None:
    open_routes = {route.template for route in URLS.routes if not route.scopes}
    assert open_routes <= PUBLIC_ROUTES
    assert {route.template for route in INTERNAL_URLS.routes} == {"/internal/artifacts/{sha256}"}


def test_pages_of_operators_do_not_exist_for_others(cast: Cast) -> None:
    browser = Client()
    browser.force_login(cast.owner)
    for route in OPERATORS:
        assert browser.get(f"/{route}").status_code == 404


ARGUMENT = re.compile(r"<(?:\w+:)?(\w+)>")
NESTED = sorted({route for route in site_routes() if route.startswith(TENANT) and route.count("<") > 1})


@pytest.fixture
def foreign(cast: Cast) -> dict[str, str]:
    """Ids of resources of globex, by the name of their argument."""
    job = job_with_steps(cast.globex, 0, runs=False)
    file = StoredFile.objects.create(
        id="file-" + "f" * 24, tenant=cast.globex, filename="secret.jsonl", purpose="fine-tune",
        size_bytes=1, sha256="0" * 64, storage_name="none",
    )  # fmt: skip
    model_register(name="globex-only", actor="tests", visibility="restricted")
    grant_set(name="globex-only", tenant_ids=[cast.globex.id], actor="tests")
    return {
        "job_id": job.id,
        "file_id": file.id,
        "key_id": str(ApiKey.objects.get(name="globex").pk),
        "user_id": str(cast.stranger.pk),
        "name": "globex-only",
        "action": "cancel",
        "step": "1",
        "checkpoint_id": "ftckpt_absent",
    }


def unknown_of(values: dict[str, str]) -> dict[str, str]:
    """Return ids of the same form that don't exist."""
    return {
        **values,
        "job_id": "ftjob-" + "z" * (len(values["job_id"]) - 6),
        "file_id": "file-" + "z" * 24,
        "key_id": str(uuid.UUID(int=7)),
        "user_id": "999999",
        "name": "globex-none",
    }


def address(route: str, values: dict[str, str]) -> str:
    """Return the path of a page of acme with these ids. Raises KeyError for an argument without a sample."""
    return "/" + ARGUMENT.sub(lambda match: ({"tenant": "acme"} | values)[match[1]], route)


@pytest.mark.parametrize("route", NESTED)
def test_an_id_of_another_tenant_looks_like_an_unknown_one(
    cast: Cast, foreign: dict[str, str], route: str
) -> None:
    browser = Client()
    browser.force_login(cast.owner)
    for method in ("GET", "POST"):
        answers = []
        for values in (foreign, unknown_of(foreign)):
            path = address(route, values)
            response = browser.generic(method, path)
            answers.append((response.status_code, response.content.decode().replace(path, "/")))
        assert answers[0] == answers[1], method
        assert answers[0][0] in (404, 405), method
    assert ApiKey.objects.get(pk=foreign["key_id"]).revoked_at is None
    assert FineTuningJob.objects.get(pk=foreign["job_id"]).status == "queued"
    assert Membership.objects.filter(user=cast.stranger).count() == 1
