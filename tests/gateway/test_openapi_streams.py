"""Responses and resumable streams are what the OpenAPI document says, and nothing more."""

from __future__ import annotations

from typing import Any

from api.gateway.app import Gateway
from api.openai.responses.events import ResponseEvent
from api.openai.responses.response_object import InputItemList, Response
from inference_worker.protocol.messages import Delta, FailureKind
from tests.documented import answer_faults, request_is_wrong
from tests.gateway.conftest import Keys
from tests.gateway.driver import CHAT, Reply, call
from tests.gateway.response_driver import PATH, USAGE, chunk, respond, retrieve, script
from tests.gateway.resumable import CONTINUE
from tests.gateway.scripted import Script, ScriptedClient, accepted, done, event_of, failed, finished

ONE = f"{PATH}/{{id}}"
TOOL = {"type": "function", "name": "look", "parameters": {"type": "object"}}
LOGPROB = {"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": [{"token": "b", "logprob": -1.0}]}


def _checked(method: str, endpoint: str, reply: Reply, status: int = 200) -> None:
    faults = answer_faults(method, endpoint, reply.status, reply.headers, reply.body)
    assert (reply.status, faults) == (status, []), reply.body


def _events(reply: Reply) -> list[Any]:
    lines = [line for line in reply.body.splitlines() if line.startswith(b"data: {")]
    return [ResponseEvent.model_validate_json(line.removeprefix(b"data: ")).root for line in lines]


def _thinking_and_calling() -> Script:
    call_piece = {"index": 0, "id": "call_1", "function": {"name": "look", "arguments": "{"}}
    words = {"index": 0, "delta": {"content": "a"}, "finish_reason": None, "logprobs": {"content": [LOGPROB]}}
    return [
        accepted(),
        chunk({"role": "assistant", "reasoning": "hm"}),
        chunk(choices=[words]),
        chunk({"tool_calls": [call_piece]}),
        chunk({"tool_calls": [{"index": 0, "function": {"arguments": "}"}}]}),
        chunk(finish="tool_calls"),
        [chunk(usage=USAGE), done(), finished()],
    ]


async def test_responses_in_all_their_forms_are_as_documented(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    asked = {
        "instructions": "short",
        "tools": [TOOL],
        "top_logprobs": 1,
        "include": ["message.output_text.logprobs"],
    }
    assert not request_is_wrong(PATH, {"model": "tiny", "input": "hello", **asked})
    client.scripts = [script(), _thinking_and_calling(), _thinking_and_calling()]
    plain = await respond(gateway, keys.acme)
    whole = await respond(gateway, keys.acme, **asked)
    streamed = await respond(gateway, keys.acme, stream=True, **asked)
    for reply in (plain, whole, streamed):
        _checked("POST", PATH, reply)
    made = Response.model_validate_json(whole.body)
    assert [item.type for item in made.output] == ["reasoning", "message", "function_call"]
    kinds = {event.type for event in _events(streamed)}
    assert len(kinds) >= 13, kinds
    kept = await retrieve(gateway, keys.acme, made.id)
    _checked("GET", ONE, kept)
    assert Response.model_validate_json(kept.body) == made
    items = await call(gateway, "GET", f"{PATH}/{made.id}/input_items", key=keys.acme)
    _checked("GET", f"{ONE}/input_items", items)
    InputItemList.model_validate_json(items.body)
    _checked("POST", f"{ONE}/cancel", await _cancel(gateway, keys, made.id), 400)
    gone = await call(gateway, "DELETE", f"{PATH}/{made.id}", key=keys.acme)
    _checked("DELETE", ONE, gone)
    _checked("GET", ONE, await retrieve(gateway, keys.acme, made.id), 404)


async def test_responses_that_fail_or_are_cancelled_are_as_documented(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    broken: Script = [accepted(), chunk({"content": "a"}), failed(FailureKind.ENGINE, 500)]
    client.scripts = [broken, broken, script(gap_s=0.2)]
    _checked("POST", PATH, await respond(gateway, keys.acme), 500)
    streamed = await respond(gateway, keys.acme, stream=True)
    _checked("POST", PATH, streamed)
    assert _events(streamed)[-1].type == "response.failed"
    background = await respond(gateway, keys.acme, background=True)
    _checked("POST", PATH, background)
    made = Response.model_validate_json(background.body)
    assert made.status in ("queued", "in_progress")
    cancelled = await _cancel(gateway, keys, made.id)
    _checked("POST", f"{ONE}/cancel", cancelled)
    assert Response.model_validate_json(cancelled.body).status == "cancelled"


async def _cancel(gateway: Gateway, keys: Keys, response_id: str) -> Reply:
    return await call(gateway, "POST", f"{PATH}/{response_id}/cancel", key=keys.acme, raw=b"")


async def test_resumable_streams_are_as_documented(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    head: dict[str, Any] = {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "tiny",
    }
    client.scripts = [[accepted(), chunk({"content": "a"}, **head), chunk(finish="stop", **head), finished()]]
    body = {**CHAT, **CONTINUE}
    assert not request_is_wrong("/v1/chat/completions", body)
    first = await call(gateway, "POST", "/v1/chat/completions", key=keys.acme, body=body)
    _checked("POST", "/v1/chat/completions", first)
    path, endpoint = f"/v1/streams/{first.headers['x-stream-id']}", "/v1/streams/{id}"
    _checked("GET", endpoint, await call(gateway, "GET", path, key=keys.acme))
    _checked(
        "POST", f"{endpoint}/cancel", await call(gateway, "POST", f"{path}/cancel", key=keys.acme, raw=b"")
    )
    _checked("GET", endpoint, await call(gateway, "GET", path, key=keys.globex), 404)
    _checked("DELETE", endpoint, await call(gateway, "DELETE", path, key=keys.acme))
    _checked("GET", endpoint, await call(gateway, "GET", path, key=keys.acme), 404)


async def test_a_resumable_completion_is_as_documented_too(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    choice = {"index": 0, "text": "a", "finish_reason": None}
    piece = {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": "tiny", "choices": [choice]}
    client.scripts = [
        [accepted(), Delta(request_id="", attempt=1, index=0, data=event_of(piece)), finished()]
    ]
    body = {"model": "tiny", "prompt": "a", **CONTINUE}
    assert not request_is_wrong("/v1/completions", body)
    first = await call(gateway, "POST", "/v1/completions", key=keys.acme, body=body)
    _checked("POST", "/v1/completions", first)
    again = await call(gateway, "GET", f"/v1/streams/{first.headers['x-stream-id']}", key=keys.acme)
    _checked("GET", "/v1/streams/{id}", again)
    assert b'"text_completion"' in again.body
