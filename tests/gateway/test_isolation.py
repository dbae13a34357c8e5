"""Whatever has an id in its path: another tenant's is answered as one that does not exist."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from api.gateway.app import Gateway
from api.gateway.http.url_table import Route
from api.gateway.urls import URLS
from tests.gateway import response_driver, resumable
from tests.gateway.conftest import Keys
from tests.gateway.driver import call
from tests.gateway.scripted import ScriptedClient

Make = Callable[[Gateway, str, ScriptedClient], Awaitable[str]]


async def _response(gateway: Gateway, key: str, client: ScriptedClient) -> str:
    client.scripts = [response_driver.script()]
    return str((await response_driver.respond(gateway, key, background=True)).document["id"])


async def _stream(gateway: Gateway, key: str, client: ScriptedClient) -> str:
    client.scripts = [resumable.script()]
    return str((await resumable.whole(gateway, key)).headers["x-stream-id"])


async def _model(gateway: Gateway, key: str, client: ScriptedClient) -> str:
    client.serves = ("tiny", "org/private")
    return "org/private"


# By what stands before the id: a route with another beginning fails here until somebody adds it.
OWNED: dict[str, Make] = {"/v1/responses/": _response, "/v1/streams/": _stream, "/v1/models/": _model}
WITH_ID = [route for route in URLS.routes if "{" in route.template]


@pytest.mark.case("serving.13")
@pytest.mark.parametrize("route", WITH_ID, ids=lambda route: f"{route.method} {route.endpoint}")
async def test_an_id_of_another_tenant_is_one_that_does_not_exist(
    gateway: Gateway, keys: Keys, client: ScriptedClient, route: Route
) -> None:
    before, _, rest = route.template.partition("{")
    after = rest.partition("}")[2]
    owned = await OWNED[before](gateway, keys.acme, client)
    prefix = owned[: owned.find("_") + 1 or owned.find("-") + 1]
    unknown = prefix + "0" * (len(owned) - len(prefix))
    theirs = await call(gateway, route.method, before + owned + after, key=keys.globex)
    missing = await call(gateway, route.method, before + unknown + after, key=keys.globex)
    assert theirs.status == missing.status == 404
    assert theirs.body == missing.body.replace(unknown.encode(), owned.encode())
    assert (await call(gateway, "GET", before + owned, key=keys.acme)).status == 200, "its owner finds it"
