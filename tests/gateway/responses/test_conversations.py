"""Conversations: responses continued with previous_response_id, and their input items."""

from __future__ import annotations

import json
from typing import Any

import pytest

from api.gateway.app import Gateway
from tests.gateway.conftest import Keys
from tests.gateway.harness.calls import RESPONSES, create_response
from tests.gateway.harness.driver import call
from tests.gateway.harness.scripted import ScriptedClient
from tests.gateway.harness.scripts import response_script


@pytest.mark.honours("responses", "previous_response_id")
async def test_a_conversation_continues_with_all_earlier_messages(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    client.scripts = [response_script(words=(word,)) for word in ("first", "second", "third")]
    first = (await create_response(gateway, keys.acme, instructions="only once")).document
    second = (
        await create_response(gateway, keys.acme, input="and", previous_response_id=first["id"])
    ).document
    third = await create_response(gateway, keys.acme, input="then", previous_response_id=second["id"])
    assert third.document["previous_response_id"] == second["id"]
    messages = json.loads(client.calls[2].body)["messages"]
    assert [(message["role"], message["content"]) for message in messages] == [
        ("user", "hello"),
        ("assistant", "first"),
        ("user", "and"),
        ("assistant", "second"),
        ("user", "then"),
    ]
    assert client.calls[2].cost_tokens > client.calls[0].cost_tokens - 1


async def test_a_conversation_with_a_deleted_response_is_rejected_instead_of_shortened(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    client.scripts = [response_script(), response_script()]
    first = (await create_response(gateway, keys.acme)).document
    second = (await create_response(gateway, keys.acme, previous_response_id=first["id"])).document
    await call(gateway, "DELETE", f"{RESPONSES}/{first['id']}", key=keys.acme)
    reply = await create_response(gateway, keys.acme, previous_response_id=second["id"])
    assert (reply.status, reply.error["code"]) == (400, "previous_response_not_found")
    assert first["id"] in reply.error["message"]
    assert len(client.calls) == 2


async def test_the_number_of_turns_in_a_conversation_is_bounded(
    gateway: Gateway, keys: Keys, client: ScriptedClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.scripts = [response_script(), response_script(), response_script()]
    first = (await create_response(gateway, keys.acme)).document
    second = (await create_response(gateway, keys.acme, previous_response_id=first["id"])).document
    monkeypatch.setattr("api.gateway.state.stored_responses.MAX_TURNS", 1)
    reply = await create_response(gateway, keys.acme, previous_response_id=second["id"])
    assert (reply.status, reply.error["param"]) == (400, "previous_response_id")
    assert "more than 1 responses" in reply.error["message"]
    assert (await create_response(gateway, keys.acme, previous_response_id=first["id"])).status == 200


@pytest.mark.case("serving.13")
async def test_another_tenants_response_cannot_be_continued(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    client.scripts = [response_script()]
    response = (await create_response(gateway, keys.acme)).document
    unknown_id = "resp_" + "0" * 48
    foreign = await create_response(gateway, keys.globex, previous_response_id=response["id"])
    unknown = await create_response(gateway, keys.globex, previous_response_id=unknown_id)
    assert (foreign.status, foreign.error["code"]) == (400, "previous_response_not_found")
    assert foreign.body == unknown.body.replace(unknown_id.encode(), response["id"].encode())
    assert len(client.calls) == 1


@pytest.mark.case("serving.14")
async def test_input_items_are_paged_and_an_empty_page_has_no_cursors(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    client.scripts = [response_script(), response_script()]
    messages = [{"role": "user", "content": f"m{number}"} for number in range(5)]
    response = (await create_response(gateway, keys.acme, input=messages)).document
    path = f"{RESPONSES}/{response['id']}/input_items"

    async def page(query: str = "") -> Any:
        reply = await call(gateway, "GET", path + query, key=keys.acme)
        assert reply.status == 200, reply.body
        return reply.document

    def texts(document: Any) -> list[str]:
        return [item["content"][0]["text"] for item in document["data"]]

    complete = await page()
    assert (texts(complete), complete["has_more"]) == (["m4", "m3", "m2", "m1", "m0"], False)
    first = await page("?order=asc&limit=2")
    assert (texts(first), first["has_more"]) == (["m0", "m1"], True)
    assert (first["first_id"], first["last_id"]) == (first["data"][0]["id"], first["data"][1]["id"])
    second = await page(f"?order=asc&limit=3&after={first['last_id']}")
    assert (texts(second), second["has_more"]) == (["m2", "m3", "m4"], False)
    empty = await page(f"?order=asc&after={second['last_id']}")
    assert empty == {"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False}
    for query, code, param in (
        ("?limit=0", "integer_below_min_value", "limit"),
        ("?limit=101", "integer_above_max_value", "limit"),
        ("?order=up", "invalid_value", "order"),
        ("?after=msg_none", "invalid_value", "after"),
        ("?before=x", "unknown_parameter", "before"),
    ):
        reply = await call(gateway, "GET", path + query, key=keys.acme)
        assert (reply.status, reply.error["code"], reply.error["param"]) == (400, code, param)
