"""Routes with an id in the path: another tenant's id gets the same reply as an unknown one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from api.gateway.app import Gateway
from api.gateway.http.url_table import Route
from api.gateway.urls import URLS
from tests.gateway.calls import create_response, resumable_chat
from tests.gateway.conftest import Keys
from tests.gateway.driver import call
from tests.gateway.scripted import ScriptedClient
from tests.gateway.scripts import chat_script, response_script

Create = Callable[[Gateway, str, ScriptedClient], Awaitable[str]]


async def _response(gateway: Gateway, key: str, client: ScriptedClient) -> str:
    client.scripts = [response_script()]
    return str((await create_response(gateway, key, background=True)).document["id"])


async def _stream(gateway: Gateway, key: str, client: ScriptedClient) -> str:
    client.scripts = [chat_script()]
    return str((await resumable_chat(gateway, key)).headers["x-stream-id"])


async def _model(gateway: Gateway, key: str, client: ScriptedClient) -> str:
    client.models = ("tiny", "org/private")
    return "org/private"


# By the part of the path before the id. A route with a new prefix fails the test until it is added here.
RESOURCES: dict[str, Create] = {"/v1/responses/": _response, "/v1/streams/": _stream, "/v1/models/": _model}
ROUTES_WITH_ID = [route for route in URLS.routes if "{" in route.template]


@pytest.mark.case("serving.13")
@pytest.mark.parametrize("route", ROUTES_WITH_ID, ids=lambda route: f"{route.method} {route.endpoint}")
async def test_another_tenants_id_looks_like_an_unknown_one(
    gateway: Gateway, keys: Keys, client: ScriptedClient, route: Route
) -> None:
    start, _, remainder = route.template.partition("{")
    end = remainder.partition("}")[2]
    acme_id = await RESOURCES[start](gateway, keys.acme, client)
    prefix = acme_id[: acme_id.find("_") + 1 or acme_id.find("-") + 1]
    unknown_id = prefix + "0" * (len(acme_id) - len(prefix))
    foreign = await call(gateway, route.method, start + acme_id + end, key=keys.globex)
    unknown = await call(gateway, route.method, start + unknown_id + end, key=keys.globex)
    assert foreign.status == unknown.status == 404
    assert foreign.body == unknown.body.replace(unknown_id.encode(), acme_id.encode())
    own = await call(gateway, "GET", start + acme_id, key=keys.acme)
    assert own.status == 200, "the owner can't read the resource"
