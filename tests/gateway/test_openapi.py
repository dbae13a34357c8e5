"""The OpenAPI document says what the gateway takes and gives, and the gateway keeps to it."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import jsonschema
import pytest

from api.gateway.app import Gateway
from api.gateway.document.error_groups import UNDOCUMENTED, errors_of
from api.gateway.endpoints.health import CACHE_S
from api.gateway.urls import URLS
from api.openai.errors.catalogue import CATALOGUE
from api.openai.validation.rules import CONVERSATION_PARAMETERS
from inference_worker.protocol.faults import InvalidParameter
from inference_worker.protocol.messages import Delta, FailureKind
from tests.documented import DOCUMENT, answer_faults, request_is_wrong
from tests.gateway.conftest import Keys
from tests.gateway.driver import CHAT, Reply, call
from tests.gateway.scripted import HANG, ScriptedClient, accepted, done, event_of, failed, finished
from tests.gateway.test_bad_requests import BASES, ROWS
from tests.gateway.test_embeddings import BASES as EMBEDDING_BASES
from tests.gateway.test_embeddings import ROWS as EMBEDDING_ROWS

COMPLETION = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "tiny",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "a"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}
CHUNK = {
    **{name: COMPLETION[name] for name in ("id", "created", "model")},
    "object": "chat.completion.chunk",
    "choices": [{"index": 0, "delta": {"content": "a"}}],
}
METHODS = {"get", "post", "delete", "put", "patch", "head", "options", "trace"}


def _event(chunk: object) -> Delta:
    return Delta(request_id="", attempt=1, index=0, data=event_of(chunk))


def _faults(method: str, endpoint: str, reply: Reply) -> list[str]:
    return answer_faults(method, endpoint, reply.status, reply.headers, reply.body)


def test_each_route_is_in_the_document_and_nothing_else() -> None:
    documented = {
        (method.upper(), path)
        for path, operations in DOCUMENT["paths"].items()
        for method in operations
        if method in METHODS
    }
    table = {(route.method, route.endpoint) for route in URLS.routes}
    assert documented == table


def test_keys_are_asked_for_where_the_table_asks_for_them() -> None:
    for route in URLS.routes:
        operation = DOCUMENT["paths"][route.endpoint][route.method.lower()]
        assert operation["security"] == ([{"bearer": []}] if route.scopes else [])
        assert ("requestBody" in operation) == (route.schema is not None)


def test_each_error_of_the_catalogue_is_an_answer_of_some_operation() -> None:
    documented = {error for route in URLS.routes for error in errors_of(route)}
    assert documented | UNDOCUMENTED == set(CATALOGUE.values())
    assert not documented & UNDOCUMENTED


def test_every_schema_is_one_and_every_reference_leads_somewhere() -> None:
    for name, schema in DOCUMENT["components"]["schemas"].items():
        jsonschema.Draft202012Validator.check_schema(schema)
        assert "title" not in schema
        assert not name.startswith("Unknown")
    text = json.dumps(DOCUMENT)
    for reference in _references(DOCUMENT):
        kind, name = reference.removeprefix("#/components/").split("/")
        assert name in DOCUMENT["components"][kind]
    assert '"title":' not in text.replace('"title": "CY-LLM"', "")


def _references(part: Any) -> list[str]:
    if isinstance(part, list):
        return [found for inner in part for found in _references(inner)]
    if not isinstance(part, dict):
        return []
    own = [part["$ref"]] if isinstance(part.get("$ref"), str) else []
    return own + [found for inner in part.values() for found in _references(inner)]


def test_only_streams_that_end_in_done_are_said_to() -> None:
    found = {}
    for path, operations in DOCUMENT["paths"].items():
        for method, operation in operations.items():
            events = operation["responses"]["200"].get("content", {}).get("text/event-stream")
            if events is not None:
                found[f"{method} {path}"] = "last is `[DONE]`" in events["schema"]["description"]
    assert found == {
        "post /v1/chat/completions": True,
        "post /v1/completions": True,
        "post /v1/responses": False,
        "get /v1/responses/{id}": False,
        "get /v1/streams/{id}": False,
    }


def test_bounds_that_are_held_before_the_schemas_are_in_the_document() -> None:
    chat = DOCUMENT["components"]["schemas"]["ChatRequest"]
    assert chat["additionalProperties"] is False
    assert chat["properties"]["messages"]["maxItems"] == 2048
    (bias,) = (b for b in chat["properties"]["logit_bias"]["anyOf"] if b.get("type") == "object")
    assert (bias["maxProperties"], bias["propertyNames"]["pattern"]) == (300, "^(0|[1-9][0-9]{0,6})$")
    (ids,) = (b for b in chat["properties"]["allowed_token_ids"]["anyOf"] if b.get("type") == "array")
    assert ids["maxItems"] == 1024
    assert "`functions`: it is deprecated" in chat["description"]


# What no JSON schema says: which parameters go together, and what is inside of patterns and names.
RULES = {
    *("messages[1].content", "max_tokens", "top_logprobs", "stream_options", "tools", "tool_choice"),
    *("tool_choice.function.name", "parallel_tool_calls", "structured_outputs", "structured_outputs.regex"),
    *("structured_outputs.json.$ref", "chat_template_kwargs.chat_template", "chat_template_kwargs.self"),
    *("best_of", "min_tokens", "allowed_token_ids", "bad_words", "continue_final_message"),
    *("structured_outputs.json_object", "messages[1].tool_calls[0].function.arguments"),
    "messages[0].tool_call_id",
}
RULES_OF_ONE = {"/tokenize": {"prompt", "messages", *CONVERSATION_PARAMETERS}}


def test_a_bad_request_is_bad_by_the_document_too_but_for_rules_between_parameters() -> None:
    for path, bad in (*ROWS, *EMBEDDING_ROWS):
        base = {**BASES, **EMBEDDING_BASES}[path]
        assert not request_is_wrong(path, base)
        body = {name: value for name, value in {**base, **bad.changes}.items() if value is not ...}
        assert request_is_wrong(path, body) or bad.param in RULES | RULES_OF_ONE.get(path, set()), bad


@pytest.mark.criterion("4.2")
async def test_each_answer_of_the_gateway_is_as_the_document_says(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    chat = "/v1/chat/completions"
    client.scripts = [
        [accepted(), finished(json.dumps(COMPLETION).encode())],
        [accepted(), _event(CHUNK), done(), finished()],
        [failed(FailureKind.REQUEST, 400, fault=InvalidParameter(param="stop", reason="no"))],
        [failed(FailureKind.ENGINE, 500)],
        [HANG],
        [failed(FailureKind.UPSTREAM, 502)],
    ]
    asked: list[tuple[str, str, str, str | None, Any, int]] = [
        ("POST", chat, chat, keys.acme, CHAT, 200),
        ("POST", chat, chat, keys.acme, {**CHAT, "stream": True}, 200),
        ("POST", chat, chat, keys.acme, CHAT, 400),
        ("POST", chat, chat, keys.acme, CHAT, 500),
        ("POST", chat, chat, keys.acme, CHAT, 504),
        ("POST", chat, chat, keys.acme, CHAT, 502),
        ("POST", chat, chat, keys.acme, CHAT, 503),
        ("POST", chat, chat, None, CHAT, 401),
        ("POST", chat, chat, keys.inactive, CHAT, 403),
        ("POST", chat, chat, keys.reader, CHAT, 403),
        ("POST", chat, chat, keys.acme, {**CHAT, "model": "no"}, 404),
        ("POST", chat, chat, keys.acme, {**CHAT, "n": 0}, 400),
        ("GET", "/v1/models", "/v1/models", keys.acme, None, 200),
        ("GET", "/v1/models", "/v1/models", keys.expired, None, 401),
        ("GET", "/v1/models/tiny", "/v1/models/{model}", keys.acme, None, 200),
        ("GET", "/v1/models/no/such", "/v1/models/{model}", keys.acme, None, 404),
        ("GET", "/health/live", "/health/live", None, None, 200),
        ("GET", "/health/ready", "/health/ready", None, None, 200),
        ("GET", "/openapi.json", "/openapi.json", None, None, 200),
    ]
    for method, path, endpoint, key, body, status in asked:
        reply = await call(gateway, method, path, key=key, body=body)
        assert (reply.status, _faults(method, endpoint, reply)) == (status, []), (path, reply.body)
    client.serves = ()
    await asyncio.sleep(CACHE_S + 0.1)
    down = await call(gateway, "GET", "/health/ready")
    assert (down.status, _faults("GET", "/health/ready", down)) == (503, [])


async def test_the_gateway_gives_the_document_without_a_key(gateway: Gateway) -> None:
    reply = await call(gateway, "GET", "/openapi.json")
    assert reply.document == DOCUMENT


@pytest.mark.parametrize(
    "change",
    [
        {"object": "chat.completion.chunk"},
        {"choices": []},
        {"choices": [{"index": 0, "message": {"role": "assistant"}, "finish_reason": "done"}]},
        {"choices": [{"index": -1, "message": {"role": "assistant"}, "finish_reason": "stop"}]},
        {"usage": None},
        {"created": 1.5},
        {"usage": {"prompt_tokens": -1, "total_tokens": 1}},
    ],
)
def test_a_wrong_answer_would_be_found(change: dict[str, Any]) -> None:
    reply = Reply(200, {"content-type": "application/json", "x-request-id": "r"})
    reply.pieces = [json.dumps(COMPLETION).encode()]
    assert _faults("POST", "/v1/chat/completions", reply) == []
    reply.pieces = [json.dumps({**COMPLETION, **change}).encode()]
    assert _faults("POST", "/v1/chat/completions", reply) != []
