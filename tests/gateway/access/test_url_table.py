"""The URL map: several methods on a path, path parameters, HEAD and OPTIONS."""

from __future__ import annotations

import pytest

from api.gateway.app import Gateway
from api.gateway.http.url_table import Endpoint, Route, RouteDoc, UrlTable
from api.gateway.urls.table import URLS
from tests.gateway.conftest import Keys
from tests.gateway.harness.driver import call

DOC = RouteDoc("A route of this table.")


def _endpoint(_: object) -> Endpoint:
    raise AssertionError("these tests call no endpoint")


TABLE = UrlTable(
    (
        Route("GET", "/v1/things", _endpoint, DOC),
        Route("GET", "/v1/things/{id}", _endpoint, DOC),
        Route("DELETE", "/v1/things/{id}", _endpoint, DOC),
        Route("POST", "/v1/things/{id}/cancel", _endpoint, DOC),
        Route("GET", "/v1/models/{model:path}", _endpoint, DOC),
    )
)


@pytest.mark.parametrize(
    ("path", "endpoint", "values"),
    [
        ("/v1/things", "/v1/things", {}),
        ("/v1/things/a.b", "/v1/things/{id}", {"id": "a.b"}),
        ("/v1/things/a/cancel", "/v1/things/{id}/cancel", {"id": "a"}),
        ("/v1/models/org/name", "/v1/models/{model}", {"model": "org/name"}),
        ("/v1/models/a\nb", "/v1/models/{model}", {"model": "a\nb"}),
    ],
)
def test_a_path_resolves_to_its_endpoint_and_values(path: str, endpoint: str, values: dict[str, str]) -> None:
    resource = TABLE.resolve(path)
    assert resource is not None
    assert (resource.path_template, dict(resource.path_values)) == (endpoint, values)


@pytest.mark.parametrize(
    "path", ["", "/v1/things/", "/v1/things/a/b", "/v1/models/", "/V1/things", "x/v1/things"]
)
def test_a_similar_path_does_not_resolve(path: str) -> None:
    assert TABLE.resolve(path) is None


def test_a_resource_lists_all_methods_of_its_path() -> None:
    resource = TABLE.resolve("/v1/things/a")
    assert resource is not None
    assert resource.allowed_methods == "DELETE, GET, HEAD, OPTIONS"
    assert resource.route("POST") is None
    assert resource.route("HEAD") is resource.route("GET") is not None


def test_a_duplicate_route_is_rejected() -> None:
    with pytest.raises(ValueError, match="twice"):
        UrlTable((Route("GET", "/a", _endpoint, DOC), Route("GET", "/a", _endpoint, DOC)))


async def test_options_lists_the_methods_and_head_equals_get(gateway: Gateway, keys: Keys) -> None:
    options = await call(gateway, "OPTIONS", "/v1/models")
    assert (options.status, options.headers["allow"], options.body) == (204, "GET, HEAD, OPTIONS", b"")
    get, head = [await call(gateway, method, "/v1/models", key=keys.acme) for method in ("GET", "HEAD")]
    assert (head.status, head.headers["content-length"]) == (200, get.headers["content-length"])
    assert (await call(gateway, "HEAD", "/v1/models")).status == 401
    assert (await call(gateway, "OPTIONS", "/v1/nothing")).status == 404


@pytest.mark.parametrize("route", [route for route in URLS.routes if route.template.startswith("/v1")])
async def test_every_route_requires_a_key(gateway: Gateway, route: Route) -> None:
    assert route.scopes
    reply = await call(gateway, route.method, route.path_template, body={})
    assert (reply.status, reply.error["code"]) == (401, "missing_api_key")
