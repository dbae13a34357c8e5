"""The model list shows what a key may use now; readiness tells which component is missing."""

from __future__ import annotations

import asyncio

import pytest

from api.gateway.app import Gateway
from inference_worker.protocol.messages import WorkerState
from tests.gateway.conftest import Keys
from tests.gateway.driver import call
from tests.gateway.scripted import ScriptedClient


@pytest.mark.criterion("1.10")
async def test_a_model_is_listed_for_those_who_may_use_it_while_a_worker_serves_it(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    client.serves = ("tiny", "org/private", "unregistered")

    async def listed(key: str) -> list[str]:
        reply = await call(gateway, "GET", "/v1/models", key=key)
        assert (reply.status, reply.document["object"]) == (200, "list")
        return [model["id"] for model in reply.document["data"]]

    assert await listed(keys.acme) == ["org/private", "tiny"]
    assert await listed(keys.globex) == ["tiny"]
    client.serves = ("tiny",)
    assert await listed(keys.acme) == ["tiny"]
    client.state = WorkerState.LOADING
    assert await listed(keys.acme) == []


@pytest.mark.criterion("1.10")
async def test_one_model_is_found_by_name_with_slashes_and_by_alias(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    client.serves = ("tiny", "org/private")
    found = await call(gateway, "GET", "/v1/models/org/private", key=keys.acme)
    assert (found.status, found.document["id"], found.document["object"]) == (200, "org/private", "model")
    assert set(found.document) == {"id", "object", "created", "owned_by"}
    alias = await call(gateway, "GET", "/v1/models/default", key=keys.acme)
    assert alias.document["id"] == "tiny"
    hidden = await call(gateway, "GET", "/v1/models/org/private", key=keys.globex)
    assert (hidden.status, hidden.error["code"]) == (404, "model_not_found")
    client.serves = ("tiny",)
    unserved = await call(gateway, "GET", "/v1/models/org/private", key=keys.acme)
    assert unserved.status == 404


@pytest.mark.criterion("1.10")
async def test_a_model_registered_now_is_known_at_once(gateway: Gateway, keys: Keys) -> None:
    from inference_worker.registry.services import model_register
    from tests.gateway.threads import in_thread

    assert (await call(gateway, "GET", "/v1/models/late", key=keys.acme)).status == 404
    gateway.endpoints.models.client.serves = ("tiny", "late")  # type: ignore[attr-defined]  # the scripted one
    await in_thread(lambda: model_register(name="late", actor="tests"))
    await asyncio.sleep(0.2)
    assert (await call(gateway, "GET", "/v1/models/late", key=keys.acme)).status == 200


async def test_ready_needs_every_component_and_names_the_one_that_is_down(
    gateway: Gateway, client: ScriptedClient
) -> None:
    ready = await call(gateway, "GET", "/health/ready")
    assert (ready.status, ready.document["status"]) == (200, "ready")
    assert ready.document["components"]["workers"]["ready"] == 1

    async def down() -> set[str]:
        await asyncio.sleep(0.55)
        reply = await call(gateway, "GET", "/health/ready")
        assert reply.status == 503
        parts = reply.document["components"].items()
        return {name for name, part in parts if part["status"] == "down"}

    client.state = WorkerState.LOADING
    assert await down() == {"workers"}
    client.state = WorkerState.READY
    client.is_healthy = False
    assert await down() == {"relay", "workers"}
    client.is_healthy = True
    await asyncio.sleep(0.55)
    assert (await call(gateway, "GET", "/health/ready")).status == 200


@pytest.mark.case("serving.35")
async def test_probes_are_nobodys_usage_need_no_key_and_ask_no_engine(
    gateway: Gateway, client: ScriptedClient
) -> None:
    assert (await call(gateway, "GET", "/health/live")).document == {"status": "live"}
    assert (await call(gateway, "GET", "/health/nothing")).status == 404
    assert (await call(gateway, "POST", "/health/live")).status == 405
    assert (await call(gateway, "GET", "/health/ready")).status == 200
    assert gateway.recorder.backlog == 0
    assert client.calls == []
