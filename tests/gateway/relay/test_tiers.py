"""Tiers of tenants: which request an engine starts first, and what answers say about it."""

from __future__ import annotations

import heapq
import json
import uuid
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from api.gateway.stages.admission.tiers import start_priority, tier_used
from tenants.choices import Tier
from tests.gateway.conftest import Keys
from tests.gateway.harness.calls import RESUMABLE, chat, create_response
from tests.gateway.harness.scripted import ScriptedClient
from tests.gateway.harness.scripts import body_script, chat_script, response_script
from tests.gateway.harness.threads import in_thread

if TYPE_CHECKING:  # conftest.py is imported before Django is set up
    from api.gateway.app import Gateway

NO_EFFECT = "x-cyllm-no-effect"


def set_tier(tenant_id: str, tier: Tier) -> None:
    from tenants.services import tenant_update

    tenant_update(tenant_id=uuid.UUID(tenant_id), actor="tests", tier=tier)


@pytest.mark.parametrize(
    ("own", "requested_tier", "effective_tier"),
    [
        (Tier.STANDARD, None, Tier.STANDARD),
        (Tier.PRIORITY, "auto", Tier.PRIORITY),
        (Tier.PRIORITY, "default", Tier.STANDARD),
        (Tier.PRIORITY, "flex", Tier.BATCH),
        (Tier.PRIORITY, "scale", Tier.PRIORITY),
        (Tier.STANDARD, "priority", Tier.STANDARD),
        (Tier.STANDARD, "flex", Tier.BATCH),
        (Tier.BATCH, "default", Tier.BATCH),
        (Tier.BATCH, "priority", Tier.BATCH),
    ],
)
def test_a_request_gets_what_it_asks_for_but_never_more_than_its_tenant_has(
    own: Tier, requested_tier: str | None, effective_tier: Tier
) -> None:
    assert tier_used(own, requested_tier) is effective_tier


@pytest.mark.criterion("3.7")
def test_a_higher_tier_overtakes_a_full_queue_and_no_tier_starves() -> None:
    """One request starts per second; one of the highest tier arrives in every second, for two minutes."""
    queue: list[tuple[int, str]] = []
    for number in range(10):
        heapq.heappush(queue, (start_priority(Tier.STANDARD, 1, 0.0), f"standard {number}"))
        heapq.heappush(queue, (start_priority(Tier.BATCH, 1, 0.0), f"batch {number}"))
    start_order: list[tuple[int, str]] = []
    for second in range(120):
        heapq.heappush(queue, (start_priority(Tier.PRIORITY, 1, float(second)), f"priority {second}"))
        start_order.append((second, heapq.heappop(queue)[1]))
    waits = {name: second for second, name in start_order}
    assert all(waits[f"priority {second}"] == second for second in range(20))
    assert max(waits[f"standard {number}"] for number in range(10)) <= 30
    assert max(waits[f"batch {number}"] for number in range(10)) <= 80


@pytest.mark.criterion("3.7")
async def test_a_tenant_of_a_higher_tier_overtakes_at_the_engine(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    await in_thread(partial(set_tier, keys.acme_id, Tier.BATCH))
    await in_thread(partial(set_tier, keys.globex_id, Tier.PRIORITY))
    client.scripts = [body_script() for _ in range(3)]
    for key, options in ((keys.acme, {}), (keys.globex, {"service_tier": "flex"}), (keys.globex, {})):
        assert (await chat(gateway, key, **options)).status == 200
    batch, flex, priority = (json.loads(call.body)["priority"] for call in client.calls)
    assert priority < batch <= flex
    assert "service_tier" not in json.loads(client.calls[1].body)


@pytest.mark.honours("chat", "service_tier")
@pytest.mark.parametrize("options", [{}, {"stream": True}, RESUMABLE])
async def test_an_answer_names_the_tier_that_was_used(
    gateway: Gateway, keys: Keys, client: ScriptedClient, options: dict[str, Any]
) -> None:
    script = chat_script if options else body_script
    client.scripts = [script(), script()]
    reply = await chat(gateway, keys.acme, service_tier="priority", **options)
    assert reply.headers[NO_EFFECT] == "service_tier", "the tenant has no such tier"
    if options:
        lines = [line for line in reply.body.split(b"\n") if line.startswith(b"data: {")]
        documents = [json.loads(line.removeprefix(b"data: ")) for line in lines]
    else:
        documents = [reply.document]
    assert {document["service_tier"] for document in documents} == {"default"}
    silent = await chat(gateway, keys.acme, **options)
    assert NO_EFFECT not in silent.headers
    assert b"service_tier" not in silent.body


@pytest.mark.honours("responses", "service_tier")
async def test_a_response_names_the_tier_that_was_used(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    client.scripts = [response_script() for _ in range(2)]
    assert (await create_response(gateway, keys.acme)).document["service_tier"] == "default"
    assert (await create_response(gateway, keys.acme, service_tier="flex")).document["service_tier"] == "flex"
