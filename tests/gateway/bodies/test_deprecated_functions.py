"""Requests with the deprecated functions: translated to tools, and the answers back."""

from __future__ import annotations

import json
from typing import Any

import pytest

from api.gateway.app import Gateway
from tests.gateway.conftest import Keys
from tests.gateway.harness.calls import RESUMABLE, chat
from tests.gateway.harness.events import documents_of
from tests.gateway.harness.scripted import ScriptedClient
from tests.gateway.harness.scripts import USAGE, accepted, chunk, done, finished

FUNCTIONS = [{"name": "look", "parameters": {"type": "object"}}]
CALL = {"name": "look", "arguments": '{"a": 1}'}


def document(finish_reason: str) -> bytes:
    call = {"id": "c", "type": "function", "function": CALL}
    message = {"role": "assistant", "content": None, "refusal": None, "tool_calls": [call]}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish_reason}
    head = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "tiny"}
    return json.dumps({**head, "choices": [choice], "usage": USAGE}).encode()


@pytest.mark.case("clients.8")
@pytest.mark.honours("chat", "functions", "function_call")
@pytest.mark.parametrize("reason", ["tool_calls", "stop"])
async def test_an_answer_has_a_function_call(
    gateway: Gateway, keys: Keys, client: ScriptedClient, reason: str
) -> None:
    client.scripts = [[accepted(), finished(document(reason))]]
    reply = await chat(gateway, keys.acme, functions=FUNCTIONS, function_call={"name": "look"})
    (choice,) = reply.document["choices"]
    assert choice["finish_reason"] == "function_call"
    assert choice["message"]["function_call"] == CALL
    assert "tool_calls" not in choice["message"]
    body = json.loads(client.calls[0].body)
    assert body["tools"] == [{"type": "function", "function": FUNCTIONS[0]}]
    assert body["tool_choice"] == {"type": "function", "function": {"name": "look"}}
    assert not {"functions", "function_call"} & body.keys()


@pytest.mark.case("clients.8")
@pytest.mark.parametrize("options", [{"stream": True}, RESUMABLE])
async def test_a_stream_has_deltas_of_a_function_call(
    gateway: Gateway, keys: Keys, client: ScriptedClient, options: dict[str, Any]
) -> None:
    start = {"index": 0, "id": "c", "type": "function", "function": {"name": "look", "arguments": ""}}
    more = {"index": 0, "function": {"arguments": CALL["arguments"]}}
    other = {"index": 1, "id": "d", "type": "function", "function": {"name": "x", "arguments": "{}"}}
    deltas = [chunk({"tool_calls": [each]}) for each in (start, more, other)]
    client.scripts = [[accepted(), *deltas, chunk(finish="tool_calls"), done(), finished()]]
    reply = await chat(gateway, keys.acme, functions=FUNCTIONS, **options)
    choices = [event["choices"][0] for event in documents_of(reply.body) if event != "[DONE]"]
    calls = [choice["delta"].get("function_call") for choice in choices]
    assert calls == [{"name": "look", "arguments": ""}, {"arguments": CALL["arguments"]}, None, None]
    assert choices[-1]["finish_reason"] == "function_call"
    assert not any("tool_calls" in choice["delta"] for choice in choices)


@pytest.mark.case("clients.8")
async def test_earlier_function_calls_and_their_outputs_become_tool_messages(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    client.scripts = [[accepted(), finished(document("tool_calls"))]]
    messages = [
        {"role": "user", "content": "hello"},
        {"role": "assistant", "content": None, "function_call": CALL},
        {"role": "function", "name": "look", "content": "4"},
    ]
    reply = await chat(gateway, keys.acme, functions=FUNCTIONS, messages=messages)
    assert reply.status == 200
    _, call, output = json.loads(client.calls[0].body)["messages"]
    assert call["tool_calls"] == [{"id": "call_1", "type": "function", "function": CALL}]
    assert output == {"role": "tool", "tool_call_id": "call_1", "name": "look", "content": "4"}
