"""References to items of stored responses."""

from __future__ import annotations

import json
from typing import Any

import pytest

from api.gateway.app import Gateway
from api.openai.validation.engine_request import BYTES_PER_TOKEN
from tests.gateway.conftest import LONG_LIMITS, Keys
from tests.gateway.harness.calls import create_response
from tests.gateway.harness.scripted import ScriptedClient
from tests.gateway.harness.scripts import response_script

USER = {"role": "user", "content": "and now?"}


def reference(item_id: str) -> dict[str, Any]:
    return {"type": "item_reference", "id": item_id}


@pytest.mark.case("clients.5")
async def test_a_reference_stands_for_an_input_or_output_item(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    client.scripts = [
        response_script(words=("first",)),
        response_script(words=("second",)),
        response_script(),
    ]
    first_input = {"type": "message", "id": "msg_mine", **USER}
    first = (await create_response(gateway, keys.acme, input=[first_input])).document
    output_id = first["output"][0]["id"]
    items = [reference("msg_mine"), {"id": output_id}, USER]
    second = await create_response(gateway, keys.acme, input=items)
    assert second.status == 200
    assert json.loads(client.calls[1].body)["messages"] == [
        USER,
        {"role": "assistant", "content": "first"},
        USER,
    ]
    await create_response(gateway, keys.acme, previous_response_id=second.document["id"])
    assert len(json.loads(client.calls[2].body)["messages"]) == 5


@pytest.mark.case("clients.5")
async def test_a_reference_to_an_item_of_another_tenant_or_of_nobody_is_not_found(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    client.scripts = [response_script(), response_script()]
    stored_id = (await create_response(gateway, keys.acme)).document["output"][0]["id"]
    unstored_id = (await create_response(gateway, keys.acme, store=False)).document["output"][0]["id"]
    for key, item_id in (
        (keys.globex, stored_id),
        (keys.acme, unstored_id),
        (keys.acme, "msg_unknown"),
        (keys.acme, "a\0b"),
        (keys.acme, "msg_\u00e9"),
    ):
        reply = await create_response(gateway, key, input=[USER, reference(item_id)])
        assert (reply.status, reply.error["code"]) == (404, "item_not_found")
        assert reply.error["param"] == "input[1].id"
    assert len(client.calls) == 2


async def test_the_quota_of_a_request_covers_each_item_that_it_refers_to(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    client.scripts = [response_script(), response_script()]
    item = {"type": "message", "id": "msg_long", "role": "user", "content": "x" * 4000}
    await create_response(gateway, keys.acme, input=[item], max_output_tokens=16)
    references = [reference("msg_long")] * 3
    await create_response(gateway, keys.acme, input=references, max_output_tokens=16)
    content_bytes = 3 * 4000
    assert len(client.calls[1].body) > content_bytes
    assert client.calls[1].cost_tokens > content_bytes // BYTES_PER_TOKEN


async def test_repeated_references_do_not_exceed_the_size_of_a_body(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    client.scripts = [response_script()]
    item = {"type": "message", "id": "msg_long", "role": "user", "content": "x" * 100_000}
    await create_response(gateway, keys.acme, input=[item])
    count = LONG_LIMITS.max_body_bytes // 100_000 + 1
    reply = await create_response(gateway, keys.acme, input=[reference("msg_long")] * count)
    assert (reply.status, reply.error["code"], reply.error["param"]) == (400, "invalid_value", "input")
    assert "the items that it refers to are larger than" in reply.error["message"]
    assert len(client.calls) == 1
