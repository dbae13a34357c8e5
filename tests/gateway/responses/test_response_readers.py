"""Readers of stored responses leave database threads and memory for other requests."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from api.gateway.app import Gateway
from api.gateway.capacity.body_bytes import BodyBytes
from tests.gateway.conftest import Keys
from tests.gateway.harness.calls import RESPONSES, create_response, retrieve
from tests.gateway.harness.conditions import eventually
from tests.gateway.harness.driver import call, connect
from tests.gateway.harness.gateways import with_capacity
from tests.gateway.harness.scripted import ScriptedClient
from tests.gateway.harness.scripts import response_script


async def test_slow_reads_of_one_tenants_responses_leave_database_threads_for_others(
    gateway: Gateway, keys: Keys, client: ScriptedClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    from api.stored_responses import selectors

    client.scripts = [response_script()]
    response_id = (await create_response(gateway, keys.globex)).document["id"]
    release, find = threading.Event(), selectors.response_find

    def find_slowly(response_id: str, tenant_id: str) -> Any:
        if tenant_id == keys.acme_id:
            release.wait(2.5)
        return find(response_id, tenant_id)

    monkeypatch.setattr(selectors, "response_find", find_slowly)
    paths = [f"{RESPONSES}/resp_{number:x}" for number in range(12)]
    slow_reads = [connect(gateway, "GET", path, key=keys.acme) for path in paths]
    await asyncio.sleep(0.05)
    response = await retrieve(gateway, keys.globex, response_id)
    reply = await call(gateway, "GET", "/v1/models", key="cyllm_nobody_knows_this")
    assert (response.status, reply.status) == (200, 401)
    assert not any(connection.task.done() for connection in slow_reads)
    release.set()
    assert {(await connection.finish()).status for connection in slow_reads} == {404}


async def test_responses_that_slow_readers_have_not_received_count_as_body_bytes(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    bodies = BodyBytes(50_000, 0.5, largest_body=1_000)
    gateway = with_capacity(gateway, bodies=bodies)
    client.scripts = [response_script()]
    response = (await create_response(gateway, keys.acme, instructions="x" * 30_000)).document
    slow = connect(gateway, "GET", f"{RESPONSES}/{response['id']}", key=keys.acme)
    slow.is_reading = False
    await eventually(lambda: bodies.in_use >= 30_000)
    excess = await retrieve(gateway, keys.acme, response["id"])
    assert (excess.status, excess.error["code"]) == (503, "overloaded")
    slow.task.cancel()
    await asyncio.gather(slow.task, return_exceptions=True)
    assert bodies.in_use == 0
    assert (await retrieve(gateway, keys.acme, response["id"])).document == response
