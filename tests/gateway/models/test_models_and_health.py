"""The model list contains the models that a key can use now; readiness names missing components."""

from __future__ import annotations

import asyncio

import pytest

from api.gateway.app import Gateway
from api.gateway.endpoints.health import CACHE_S
from inference_worker.protocol.messages import WorkerState
from tests.gateway.conftest import CACHING_LIMITS, Keys
from tests.gateway.harness.conditions import eventually
from tests.gateway.harness.driver import call
from tests.gateway.harness.scripted import ScriptedClient


@pytest.mark.criterion("1.10")
async def test_a_model_is_listed_for_its_tenants_while_a_worker_serves_it(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    client.models = ("tiny", "org/private", "unregistered")

    async def model_ids(key: str) -> list[str]:
        reply = await call(gateway, "GET", "/v1/models", key=key)
        assert (reply.status, reply.document["object"]) == (200, "list")
        return [model["id"] for model in reply.document["data"]]

    assert await model_ids(keys.acme) == ["org/private", "tiny"]
    assert await model_ids(keys.globex) == ["tiny"]
    client.models = ("tiny",)
    assert await model_ids(keys.acme) == ["tiny"]
    client.state = WorkerState.LOADING
    assert await model_ids(keys.acme) == []


@pytest.mark.criterion("1.10")
async def test_a_model_is_found_by_a_name_with_slashes_and_by_alias(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    client.models = ("tiny", "org/private")
    reply = await call(gateway, "GET", "/v1/models/org/private", key=keys.acme)
    assert (reply.status, reply.document["id"], reply.document["object"]) == (200, "org/private", "model")
    assert set(reply.document) - {"max_model_len", "context_length", "root"} == {
        *("id", "object", "created", "owned_by")
    }
    alias = await call(gateway, "GET", "/v1/models/default", key=keys.acme)
    assert alias.document["id"] == "tiny"
    forbidden = await call(gateway, "GET", "/v1/models/org/private", key=keys.globex)
    assert (forbidden.status, forbidden.error["code"]) == (404, "model_not_found")
    client.models = ("tiny",)
    missing_model = await call(gateway, "GET", "/v1/models/org/private", key=keys.acme)
    assert missing_model.status == 404


@pytest.mark.case("clients.17")
@pytest.mark.case("clients.27")
async def test_a_model_states_its_context_and_its_base_model_as_far_as_they_are_known(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    async def extensions(key: str, name: str) -> dict[str, object]:
        listing = await call(gateway, "GET", "/v1/models", key=key)
        (model,) = [model for model in listing.document["data"] if model["id"] == name]
        assert (await call(gateway, "GET", f"/v1/models/{name}", key=key)).document == model
        return {
            field: model[field] for field in ("max_model_len", "context_length", "root") if field in model
        }

    client.models = ("org/private", "tiny")  # the worker's base model is its first
    context = {"max_model_len": 4096, "context_length": 4096}
    assert await extensions(keys.acme, "org/private") == {**context, "root": "org/private"}
    assert await extensions(keys.acme, "tiny") == {**context, "root": "org/private"}
    assert await extensions(keys.globex, "tiny") == context
    client.max_model_len = 0
    assert await extensions(keys.globex, "tiny") == {}


@pytest.mark.criterion("1.10")
@pytest.mark.parametrize("limits", [CACHING_LIMITS])
async def test_a_newly_registered_model_is_available_at_once(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    from inference_worker.registry.services import model_register
    from tests.gateway.harness.threads import in_thread

    assert (await call(gateway, "GET", "/v1/models/late", key=keys.acme)).status == 404
    client.models = ("tiny", "late")
    await in_thread(lambda: model_register(name="late", actor="tests"))

    async def is_available() -> bool:
        return (await call(gateway, "GET", "/v1/models/late", key=keys.acme)).status == 200

    await eventually(is_available)


@pytest.mark.case("clients.27")
@pytest.mark.parametrize("path", ["/health/ready", "/health"])
async def test_readiness_requires_every_component_and_names_those_that_are_down(
    gateway: Gateway, client: ScriptedClient, path: str
) -> None:
    ready = await call(gateway, "GET", path)
    assert (ready.status, ready.document["status"]) == (200, "ready")
    assert ready.document["components"]["workers"]["ready"] == 1

    async def down_components() -> set[str]:
        await asyncio.sleep(CACHE_S + 0.05)
        reply = await call(gateway, "GET", path)
        assert reply.status == 503
        parts = reply.document["components"].items()
        return {name for name, part in parts if part["status"] == "down"} - {"models"}

    client.state = WorkerState.LOADING
    assert await down_components() == {"workers"}
    client.state = WorkerState.READY
    client.redis_is_up = False
    assert await down_components() == {"relay", "workers"}
    client.redis_is_up = True
    await asyncio.sleep(CACHE_S + 0.05)
    assert (await call(gateway, "GET", path)).status == 200


@pytest.mark.case("serving.35")
async def test_probes_require_no_key_and_leave_neither_records_nor_engine_calls(
    gateway: Gateway, client: ScriptedClient
) -> None:
    assert (await call(gateway, "GET", "/health/live")).document == {"status": "live"}
    assert (await call(gateway, "GET", "/health/nothing")).status == 404
    assert (await call(gateway, "POST", "/health/live")).status == 405
    assert (await call(gateway, "GET", "/health")).status == 200
    assert (await call(gateway, "GET", "/health/ready")).status == 200
    assert gateway.recorder.backlog == 0
    assert client.calls == []
