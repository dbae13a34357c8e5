"""Conversations are compacted: a summary replaces the turns of the model, and later requests see it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from api.gateway.app import Gateway
from api.openai.responses.compaction_items import INTRODUCTION
from api.openai.responses.compaction_plan import PROMPT
from api.openai.validation.engine_request import BYTES_PER_TOKEN
from inference_worker.protocol.messages import Operation
from tests.gateway.conftest import Keys
from tests.gateway.harness.calls import RESPONSES, create_response
from tests.gateway.harness.driver import Reply, call
from tests.gateway.harness.records import RecordReader
from tests.gateway.harness.scripted import ScriptedClient
from tests.gateway.harness.scripts import TEXT, body_script, response_script

COMPACT = f"{RESPONSES}/compact"
TOOL = {"type": "function", "name": "look", "parameters": {"type": "object", "properties": {}}}
CONVERSATION: list[dict[str, Any]] = [
    {"role": "developer", "content": "be brief"},
    {"role": "user", "content": "plan a trip"},
    {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "x"},
    {"role": "assistant", "content": "I look."},
    {"type": "function_call", "call_id": "c1", "name": "look", "arguments": "{}"},
    {"type": "function_call_output", "call_id": "c1", "output": "Rome"},
    {"role": "user", "content": "cheaper"},
]


async def compact(gateway: Gateway, key: str, **body: object) -> Reply:
    return await call(gateway, "POST", COMPACT, key=key, body={"model": "tiny", **body})


def messages(client: ScriptedClient, number: int) -> list[dict[str, Any]]:
    engine_messages: list[dict[str, Any]] = json.loads(client.calls[number].body)["messages"]
    return engine_messages


async def test_the_quota_of_a_compaction_covers_the_prompt_for_the_summary(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    client.scripts = [body_script()]
    await compact(gateway, keys.acme, input="x", max_output_tokens=16)
    body_bytes = len('{"model": "tiny", "input": "x", "max_output_tokens": 16}')
    input_tokens = client.calls[0].cost_tokens - 16
    assert (body_bytes + len(PROMPT)) // BYTES_PER_TOKEN == pytest.approx(input_tokens, abs=3)


@pytest.mark.case("clients.19")
async def test_the_messages_to_the_model_and_a_summary_replace_the_conversation(
    gateway: Gateway, keys: Keys, client: ScriptedClient, settled_record: RecordReader
) -> None:
    client.scripts = [body_script()]
    # Codex sends the parameters of its turns as well.
    turn = {"tools": [TOOL], "parallel_tool_calls": False, "text": {"format": {"type": "json_object"}}}
    reply = await compact(gateway, keys.acme, input=CONVERSATION, instructions="Help.", **turn)
    assert reply.status == 200
    *kept_items, compaction = reply.document["output"]
    texts = [(item["role"], item["content"][0]["text"]) for item in kept_items]
    assert texts == [("developer", "be brief"), ("user", "plan a trip"), ("user", "cheaper")]
    assert compaction["type"] == "compaction"
    assert TEXT not in compaction["encrypted_content"]
    assert reply.document["usage"]["total_tokens"] == 11
    body = json.loads(client.calls[0].body)
    assert (client.calls[0].operation, client.calls[0].streamed) == (Operation.CHAT_COMPLETIONS, False)
    assert body.keys().isdisjoint({"tools", "parallel_tool_calls", "response_format", "stream"})
    roles = [message["role"] for message in body["messages"]]
    assert roles == ["system", "developer", "user", "assistant", "tool", "user", "user"]
    assert body["messages"][-1]["content"] == PROMPT
    record = await settled_record()
    assert (record.endpoint, record.status) == (COMPACT, 200)


@pytest.mark.case("clients.19")
@pytest.mark.parametrize("kind", ["compaction", "compaction_summary"])
async def test_the_items_are_the_input_of_later_requests_and_compactions(
    gateway: Gateway, keys: Keys, client: ScriptedClient, kind: str
) -> None:
    client.scripts = [body_script(), response_script(), body_script()]
    window = (await compact(gateway, keys.acme, input=CONVERSATION)).document["output"]
    window[-1] = {**window[-1], "type": kind}
    question = {"role": "user", "content": "go on"}
    response = await create_response(gateway, keys.acme, input=[*window, question])
    assert response.status == 200
    summary = {"role": "user", "content": INTRODUCTION + TEXT}
    assert messages(client, 1)[-2:] == [summary, question]
    again = await compact(gateway, keys.acme, previous_response_id=response.document["id"])
    assert summary in messages(client, 2)
    kept_items = again.document["output"]
    assert [item.get("role") for item in kept_items] == ["developer", "user", "user", "user", None]


@pytest.mark.case("clients.19")
@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"input": "a", "stream": True}, "stream"),
        ({"input": "a", "background": True}, "background"),
        ({}, "input"),
        ({"input": [{"type": "compaction", "encrypted_content": "gAAA"}]}, "input[0].encrypted_content"),
        ({"input": "a", "previous_response_id": "resp_0"}, "previous_response_id"),
    ],
)
async def test_a_bad_request_is_an_error_by_name(
    gateway: Gateway, keys: Keys, client: ScriptedClient, body: dict[str, Any], param: str
) -> None:
    reply = await compact(gateway, keys.acme, **body)
    assert (reply.status, reply.error["param"], client.calls) == (400, param, [])


@pytest.mark.case("clients.19")
@pytest.mark.parametrize(
    "content",
    [
        b"{}",
        b'{"choices": [{"message": {"content": null}}], "usage": {}}',
        b'{"choices": [{"message": {"content": "a"}}], "usage": null}',
        b'{"choices": [{"message": {"content": [1]}}], "usage": {}}',
    ],
)
async def test_without_a_summary_nothing_is_replaced(
    gateway: Gateway, keys: Keys, client: ScriptedClient, content: bytes
) -> None:
    client.scripts = [body_script(content + b" ")]
    assert (await compact(gateway, keys.acme, input="a")).error["code"] == "engine_error"


@pytest.mark.case("clients.19")
@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_the_path_is_not_taken_for_an_id(gateway: Gateway, keys: Keys, method: str) -> None:
    reply = await call(gateway, method, COMPACT, key=keys.acme)
    assert (reply.status, reply.headers["allow"]) == (405, "OPTIONS, POST")
