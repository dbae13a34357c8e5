"""Responses and resumable streams conform to the OpenAPI document."""

from __future__ import annotations

import asyncio
from typing import Any

from api.gateway.app import Gateway
from api.openai.responses.schemas.events import ResponseEvent
from api.openai.responses.schemas.response_object import InputItemList, Response
from inference_worker.protocol.messages import FailureKind
from tests.gateway.conftest import Keys
from tests.gateway.harness.calls import (
    CHAT,
    COMPLETIONS,
    RESPONSES,
    RESUMABLE,
    body_for,
    create_response,
    post,
    resumable_chat,
    resume,
    retrieve,
)
from tests.gateway.harness.driver import Reply, call
from tests.gateway.harness.events import response_events
from tests.gateway.harness.scripted import ScriptedClient
from tests.gateway.harness.scripts import (
    USAGE,
    Script,
    accepted,
    chunk,
    delta,
    done,
    failed,
    finished,
    json_delta,
    response_script,
)
from tests.openapi_validation import answer_faults, request_is_wrong

RESPONSE = f"{RESPONSES}/{{id}}"
TOOL = {"type": "function", "name": "look", "parameters": {"type": "object"}}
LOGPROB = {"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": [{"token": "b", "logprob": -1.0}]}


def _check(method: str, endpoint: str, reply: Reply, status: int = 200) -> None:
    """Assert that the reply has the status and conforms to the document."""
    faults = answer_faults(method, endpoint, reply.status, reply.headers, reply.body)
    assert (reply.status, faults) == (status, []), reply.body


def _events(reply: Reply) -> list[Any]:
    return [ResponseEvent.model_validate(event).root for event in response_events(reply.body)]


def _reasoning_and_tool_script() -> Script:
    call_start = {"index": 0, "id": "call_1", "function": {"name": "look", "arguments": "{"}}
    choice = {
        "index": 0,
        "delta": {"content": "a"},
        "finish_reason": None,
        "logprobs": {"content": [LOGPROB]},
    }
    return [
        accepted(),
        chunk({"role": "assistant", "reasoning": "hm"}),
        chunk(choices=[choice]),
        chunk({"tool_calls": [call_start]}),
        chunk({"tool_calls": [{"index": 0, "function": {"arguments": "}"}}]}),
        chunk(finish="tool_calls"),
        [chunk(usage=USAGE), done(), finished()],
    ]


async def test_responses_in_all_forms_match_the_document(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    parameters = {
        "instructions": "short",
        "tools": [TOOL],
        "top_logprobs": 1,
        "include": ["message.output_text.logprobs"],
    }
    assert not request_is_wrong(RESPONSES, body_for(RESPONSES, **parameters))
    client.scripts = [response_script(), _reasoning_and_tool_script(), _reasoning_and_tool_script()]
    plain = await create_response(gateway, keys.acme)
    complete = await create_response(gateway, keys.acme, **parameters)
    streamed = await create_response(gateway, keys.acme, stream=True, **parameters)
    for reply in (plain, complete, streamed):
        _check("POST", RESPONSES, reply)
    response = Response.model_validate_json(complete.body)
    assert [item.type for item in response.output] == ["reasoning", "message", "function_call"]
    kinds = {event.type for event in _events(streamed)}
    assert len(kinds) >= 13, kinds
    reply_again = await retrieve(gateway, keys.acme, response.id)
    _check("GET", RESPONSE, reply_again)
    assert Response.model_validate_json(reply_again.body) == response
    items = await call(gateway, "GET", f"{RESPONSES}/{response.id}/input_items", key=keys.acme)
    _check("GET", f"{RESPONSE}/input_items", items)
    InputItemList.model_validate_json(items.body)
    _check("POST", f"{RESPONSE}/cancel", await _cancel(gateway, keys, response.id), 400)
    deletion = await call(gateway, "DELETE", f"{RESPONSES}/{response.id}", key=keys.acme)
    _check("DELETE", RESPONSE, deletion)
    _check("GET", RESPONSE, await retrieve(gateway, keys.acme, response.id), 404)


async def test_failed_and_cancelled_responses_match_the_document(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    failing_script: Script = [accepted(), delta("a"), failed(FailureKind.ENGINE, 500)]
    client.scripts = [failing_script, failing_script, response_script(until=asyncio.Event())]
    _check("POST", RESPONSES, await create_response(gateway, keys.acme), 500)
    streamed = await create_response(gateway, keys.acme, stream=True)
    _check("POST", RESPONSES, streamed)
    assert _events(streamed)[-1].type == "response.failed"
    background = await create_response(gateway, keys.acme, background=True)
    _check("POST", RESPONSES, background)
    response = Response.model_validate_json(background.body)
    assert response.status in ("queued", "in_progress")
    cancellation = await _cancel(gateway, keys, response.id)
    _check("POST", f"{RESPONSE}/cancel", cancellation)
    assert Response.model_validate_json(cancellation.body).status == "cancelled"


async def _cancel(gateway: Gateway, keys: Keys, response_id: str) -> Reply:
    return await call(gateway, "POST", f"{RESPONSES}/{response_id}/cancel", key=keys.acme, raw=b"")


async def test_resumable_chat_streams_match_the_document(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    head: dict[str, Any] = {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "tiny",
    }
    client.scripts = [[accepted(), chunk({"content": "a"}, **head), chunk(finish="stop", **head), finished()]]
    assert not request_is_wrong(CHAT, body_for(CHAT, **RESUMABLE))
    reply = await resumable_chat(gateway, keys.acme)
    _check("POST", CHAT, reply)
    path, endpoint = f"/v1/streams/{reply.headers['x-stream-id']}", "/v1/streams/{id}"
    _check("GET", endpoint, await call(gateway, "GET", path, key=keys.acme))
    _check(
        "POST", f"{endpoint}/cancel", await call(gateway, "POST", f"{path}/cancel", key=keys.acme, raw=b"")
    )
    _check("GET", endpoint, await call(gateway, "GET", path, key=keys.globex), 404)
    _check("DELETE", endpoint, await call(gateway, "DELETE", path, key=keys.acme))
    _check("GET", endpoint, await call(gateway, "GET", path, key=keys.acme), 404)


async def test_resumable_completion_streams_match_the_document(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    head = {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": "tiny"}
    choices = [{"index": 0, "text": "a", "logprobs": None, "finish_reason": None}]
    client.scripts = [[accepted(), json_delta({**head, "choices": choices}), finished()]]
    assert not request_is_wrong(COMPLETIONS, body_for(COMPLETIONS, **RESUMABLE))
    reply = await post(gateway, keys.acme, COMPLETIONS, **RESUMABLE)
    _check("POST", COMPLETIONS, reply)
    resumed_stream = await resume(gateway, keys.acme, reply.headers["x-stream-id"])
    _check("GET", "/v1/streams/{id}", resumed_stream)
    assert b'"text_completion"' in resumed_stream.body
