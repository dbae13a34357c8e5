"""Who reads stored responses keeps nobody else waiting: threads of the database, and bytes of the process."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from api.gateway.app import Gateway
from api.gateway.stages.capacity import BodyBudget
from api.gateway.stages.limits import Limits
from tests.gateway.conftest import Keys
from tests.gateway.driver import call, visit
from tests.gateway.harness import with_capacity
from tests.gateway.response_driver import PATH, respond, retrieve, script
from tests.gateway.scripted import ScriptedClient


@pytest.fixture
def limits() -> Limits:
    """Times that a busy machine does not reach."""
    return Limits(gateway_max_requests=8, total_timeout_s=60.0, detached_grace_s=0.2)


async def test_one_tenant_reading_its_responses_keeps_nobody_from_the_database(
    gateway: Gateway, keys: Keys, client: ScriptedClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    from api.stored_responses import selectors

    client.scripts = [script()]
    theirs = (await respond(gateway, keys.globex)).document["id"]
    go_on, find = threading.Event(), selectors.response_find

    def slowly(response_id: str, tenant_id: str) -> Any:
        if tenant_id == keys.acme_id:
            go_on.wait(2.5)
        return find(response_id, tenant_id)

    monkeypatch.setattr(selectors, "response_find", slowly)
    waiting = [visit(gateway, "GET", f"{PATH}/resp_{number:x}", key=keys.acme) for number in range(12)]
    await asyncio.sleep(0.05)
    found = await retrieve(gateway, keys.globex, theirs)
    unknown = await call(gateway, "GET", "/v1/models", key="cyllm_nobody_knows_this")
    assert (found.status, unknown.status) == (200, 401)
    assert not any(one.task.done() for one in waiting)
    go_on.set()
    await asyncio.gather(*(one.task for one in waiting))
    assert {one.reply.status for one in waiting} == {404}


async def test_what_slow_readers_of_responses_have_not_taken_is_held_as_bodies_are(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    bodies = BodyBudget(50_000, 0.5, largest_body=1_000)
    narrow = with_capacity(gateway, bodies=bodies)
    client.scripts = [script()]
    made = (await respond(gateway, keys.acme, instructions="x" * 30_000)).document
    slow = visit(narrow, "GET", f"{PATH}/{made['id']}", key=keys.acme)
    slow.stuck = True
    async with asyncio.timeout(5):
        while bodies.in_use < 30_000:
            await asyncio.sleep(0.005)
    refused = await retrieve(narrow, keys.acme, made["id"])
    assert (refused.status, refused.error["code"]) == (503, "overloaded")
    slow.task.cancel()
    await asyncio.gather(slow.task, return_exceptions=True)
    assert bodies.in_use == 0
    assert (await retrieve(narrow, keys.acme, made["id"])).document == made
