"""Addresses of all pages, read from the site's URL tables, so that a new page needs no entry."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx

from tests.console.harness.sample_site import ADAPTER

if TYPE_CHECKING:  # importable before Django is set up
    from tests.console.harness.sample_site import SampleSite

ARGUMENT = re.compile(r"<(?:\w+:)?(\w+)>")
ADMIN = "admin/"
# Views of a page that need a query. Placeholders such as {job} stand for ids of the sample site.
QUERIES = (
    *("/console/acme/jobs/{job}/?tab=checkpoints&table=1", "/console/acme/jobs/{job}/?tab=config"),
    *("/console/acme/jobs/{finished}/", "/console/acme/jobs/?q=none", "/console/acme/jobs/new/?from={job}"),
    *("/console/acme/compare/?jobs={job},{finished}", "/console/acme/usage/?by=key"),
    *("/console/acme/usage/records/?key={key}", "/admin/tenants/auditrecord/request/?id={request}"),
)
ERRORS = (
    *("/nothing", "/admin/nothing", "/console/acme/jobs/absent/", "/console/?next=%00"),
    *("/admin/tenants/usagerecord/add/", "/broken", "/admin/broken"),
)


@dataclass(frozen=True)
class PageAddress:
    """A page, and whether it is opened by the signed-in operator."""

    path: str
    is_signed_in: bool

    @property
    def name(self) -> str:
        """The path as a file name."""
        name = re.sub(r"[^\w.=-]+", "_", self.path).strip("_") or "index"
        return name if self.is_signed_in else f"{name}.signed-out"


def page_addresses(address: str, cookies: Mapping[str, str], sample: SampleSite) -> list[PageAddress]:
    """Return every page of the site at ``address``: what answers a GET with a document, and error pages."""
    pages: list[PageAddress] = []
    with httpx.Client(base_url=address, timeout=60) as visitor:
        pages += [PageAddress(path, False) for path in _paths(sample) if _is_page(visitor, path)]
    with httpx.Client(base_url=address, cookies=dict(cookies), timeout=60) as operator:
        signed_out = {page.path for page in pages}
        paths = [path for path in _paths(sample) if path not in signed_out]
        pages += [PageAddress(path, True) for path in paths if _is_page(operator, path)]
    return [*pages, *(PageAddress(path, True) for path in ERRORS)]


def _is_page(client: httpx.Client, path: str) -> bool:
    response = client.get(path)
    is_html = response.headers.get("content-type", "").startswith("text/html")
    return response.status_code == 200 and is_html and "<html" in response.text[:2000]


def _paths(sample: SampleSite) -> list[str]:
    from django.urls import get_resolver

    patterns: Sequence[Any] = get_resolver("cyllm_site.urls").url_patterns
    paths = [f"/{_filled(route, sample)}" for route in _routes(patterns, "")]
    queries = [
        query.format(
            job=sample.job_id, finished=sample.finished_job_id, key=sample.key_id, request=sample.request_id
        )
        for query in QUERIES
    ]
    return list(dict.fromkeys([*paths, *queries]))


def _routes(patterns: Sequence[Any], prefix: str) -> Iterator[str]:
    """Yield the routes of pages, without those of JSON, of regular expressions and of old addresses."""
    from django.urls import URLResolver
    from django.urls.resolvers import RoutePattern

    for pattern in patterns:
        if not isinstance(pattern.pattern, RoutePattern):
            continue
        route = prefix + str(pattern.pattern)
        if route.startswith(("api/", f"{ADMIN}r/")):
            continue
        if isinstance(pattern, URLResolver):
            yield from _routes(pattern.url_patterns, route)
        else:
            yield route


def _filled(route: str, sample: SampleSite) -> str:
    values = {
        "tenant": "acme",
        "job_id": sample.job_id,
        "file_id": sample.file_id,
        "key_id": sample.key_id,
        "name": ADAPTER,
        "step": "100",
        # Arguments of addresses that only forms send to.
        **dict.fromkeys(("user_id", "action", "checkpoint_id"), "1"),
    }
    if route.startswith(ADMIN):
        values |= dict.fromkeys(("object_id", "id"), _newest_object(route))

    def value(match: re.Match[str]) -> str:
        if (name := match[1]) not in values:
            raise SystemExit(f"{route}: a sample value for {name} is missing in {__name__}")
        return values[name]

    return ARGUMENT.sub(value, route)


def _newest_object(route: str) -> str:
    """Return the id in the admin's addresses of the newest object of the route's model; "" if none."""
    from django.apps import apps
    from django.contrib.admin.utils import quote

    label, _, rest = route.removeprefix(ADMIN).partition("/")
    if "<" not in rest:
        return ""
    newest = apps.get_model(label, rest.partition("/")[0])._default_manager.order_by("-pk").first()
    return "" if newest is None else str(quote(newest.pk))
