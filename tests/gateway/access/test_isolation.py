"""Routes with an id in the path: another tenant's id gets the same reply as an unknown one."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable

import pytest

from api.gateway.app import Gateway
from api.gateway.http.url_table import Route
from api.gateway.urls.table import URLS
from tenants.models import Tenant
from tests.gateway.conftest import Keys
from tests.gateway.harness.calls import create_response, resumable_chat
from tests.gateway.harness.driver import call
from tests.gateway.harness.jobs import created_job
from tests.gateway.harness.scripted import ScriptedClient
from tests.gateway.harness.scripts import chat_script, response_script
from tests.gateway.harness.threads import in_thread
from tests.gateway.harness.uploads import upload
from training.models import JobCheckpoint

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


async def _file(gateway: Gateway, key: str, client: ScriptedClient) -> str:
    return str((await upload(gateway, key)).document["id"])


async def _job(gateway: Gateway, key: str, client: ScriptedClient) -> str:
    acme_id = await in_thread(lambda: str(Tenant.objects.get(slug="acme").id))
    return await created_job(gateway, key, acme_id)


# By the part of the path before the id. A route with a new prefix fails the test until it is added here.
RESOURCES: dict[str, Create] = {
    "/v1/responses/": _response,
    "/v1/streams/": _stream,
    "/v1/models/": _model,
    "/v1/files/": _file,
    "/v1/fine_tuning/jobs/": _job,
}


async def _checkpoint(job_id: str) -> str:
    checkpoint = JobCheckpoint(id=f"ftckpt_{job_id.removeprefix('ftjob-')}", job_id=job_id, step=1)
    await in_thread(lambda: checkpoint.save(force_insert=True))
    return checkpoint.id


# By the name of a second parameter: creates a part of a resource. A new one fails the test until it is here.
PARTS = {"checkpoint": _checkpoint}
ROUTES_WITH_ID = [route for route in URLS.routes if "{" in route.template]


@pytest.mark.case("serving.13")
@pytest.mark.usefixtures("trainable")
@pytest.mark.parametrize("route", ROUTES_WITH_ID, ids=lambda route: f"{route.method} {route.path_template}")
async def test_another_tenants_id_looks_like_an_unknown_one(
    gateway: Gateway, keys: Keys, client: ScriptedClient, route: Route
) -> None:
    start, _, remainder = route.template.partition("{")
    end = remainder.partition("}")[2]
    acme_id = await RESOURCES[start](gateway, keys.acme, client)
    for part in re.findall(r"\{(\w+)\}", end):
        end = end.replace(f"{{{part}}}", await PARTS[part](acme_id))
    prefix = acme_id[: acme_id.find("_") + 1 or acme_id.find("-") + 1]
    unknown_id = prefix + "0" * (len(acme_id) - len(prefix))
    foreign = await call(gateway, route.method, start + acme_id + end, key=keys.globex)
    unknown = await call(gateway, route.method, start + unknown_id + end, key=keys.globex)
    assert foreign.status == unknown.status == 404
    assert foreign.body == unknown.body.replace(unknown_id.encode(), acme_id.encode())
    own = await call(gateway, "GET", start + acme_id, key=keys.acme)
    assert own.status == 200, "the owner can't read the resource"


@pytest.mark.case("serving.13")
@pytest.mark.usefixtures("trainable")
@pytest.mark.parametrize(
    "route",
    [route for route in ROUTES_WITH_ID if route.template.count("{") > 1],
    ids=lambda route: f"{route.method} {route.path_template}",
)
async def test_a_part_of_another_tenants_resource_looks_unknown_in_ones_own(
    gateway: Gateway, keys: Keys, client: ScriptedClient, route: Route
) -> None:
    start, end = re.split(r"\{\w+\}", route.template, maxsplit=1)
    globex_id = await in_thread(lambda: str(Tenant.objects.get(slug="globex").id))
    own_id = await created_job(gateway, keys.globex, globex_id)
    acme_id = await RESOURCES[start](gateway, keys.acme, client)
    [part] = re.findall(r"\{(\w+)\}", end)
    part_id = await PARTS[part](acme_id)
    bodies = []
    for each_id in (part_id, f"{part_id.partition('_')[0]}_0"):
        path = start + own_id + end.replace(f"{{{part}}}", each_id)
        reply = await call(gateway, route.method, path, key=keys.globex)
        assert reply.status == 404
        bodies.append(reply.body.replace(each_id.encode(), b"?"))
    assert bodies[0] == bodies[1]
