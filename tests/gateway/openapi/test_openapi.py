"""The OpenAPI document describes the gateway's requests and replies, and the gateway conforms to it."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import jsonschema
import pytest

from api.gateway.app import Gateway
from api.gateway.document.error_groups import UNDOCUMENTED, errors_of
from api.gateway.endpoints.health import CACHE_S
from api.gateway.urls.table import URLS
from api.openai.errors import administration
from api.openai.errors.catalogue import CATALOGUE
from api.openai.validation.rules import CONVERSATION_PARAMETERS
from inference_worker.protocol.faults import InvalidParameter
from inference_worker.protocol.messages import FailureKind
from tests.gateway.bodies import bad_embeddings, bad_requests
from tests.gateway.conftest import Keys
from tests.gateway.harness.calls import CHAT, body_for
from tests.gateway.harness.driver import Reply, call
from tests.gateway.harness.gateways import with_limits
from tests.gateway.harness.scripted import ScriptedClient
from tests.gateway.harness.scripts import HANG, accepted, done, failed, finished, json_delta
from tests.openapi_validation import DOCUMENT, answer_faults, request_is_wrong

COMPLETION = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "tiny",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "a", "refusal": None},
            "logprobs": None,
            "finish_reason": "stop",
        }
    ],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}
CHUNK = {
    **{name: COMPLETION[name] for name in ("id", "created", "model")},
    "object": "chat.completion.chunk",
    "choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": None}],
}
CHAT_BODY = body_for(CHAT)
METHODS = {"get", "post", "delete", "put", "patch", "head", "options", "trace"}


def _faults(method: str, endpoint: str, reply: Reply) -> list[str]:
    return answer_faults(method, endpoint, reply.status, reply.headers, reply.body)


def test_the_document_has_exactly_the_routes_of_the_url_map() -> None:
    operations = {
        (method.upper(), path)
        for path, path_item in DOCUMENT["paths"].items()
        for method in path_item
        if method in METHODS
    }
    assert operations == {(route.method, route.path_template) for route in URLS.routes}


def test_the_document_requires_keys_and_bodies_where_the_routes_do() -> None:
    for route in URLS.routes:
        operation = DOCUMENT["paths"][route.path_template][route.method.lower()]
        assert operation["security"] == ([{"bearer": []}] if route.scopes else [])
        assert ("requestBody" in operation) == (route.schema is not None)


def test_every_error_of_the_catalogue_belongs_to_an_operation() -> None:
    documented_errors = {error for route in URLS.routes for error in errors_of(route)}
    # The administrative API has a document of its own.
    of_administration = {error for error in CATALOGUE.values() if error.__module__ == administration.__name__}
    assert documented_errors | UNDOCUMENTED | of_administration == set(CATALOGUE.values())
    assert not documented_errors & UNDOCUMENTED


def test_every_schema_is_valid_and_every_reference_resolves() -> None:
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
        return [reference for item in part for reference in _references(item)]
    if not isinstance(part, dict):
        return []
    own = [part["$ref"]] if isinstance(part.get("$ref"), str) else []
    return own + [reference for item in part.values() for reference in _references(item)]


def test_only_streams_that_end_with_done_are_documented_so() -> None:
    ends_with_done = {}
    for path, operations in DOCUMENT["paths"].items():
        for method, operation in operations.items():
            events = operation["responses"]["200"].get("content", {}).get("text/event-stream")
            if events is not None:
                ends_with_done[f"{method} {path}"] = (
                    "last event is `[DONE]`" in events["schema"]["description"]
                )
    assert ends_with_done == {
        "post /v1/chat/completions": True,
        "post /v1/completions": True,
        "post /v1/responses": False,
        "get /v1/responses/{id}": False,
        "get /v1/streams/{id}": False,
        "get /v1/fine_tuning/jobs/{id}/events": True,
    }


def test_the_document_contains_the_bounds_checked_before_the_schemas() -> None:
    chat = DOCUMENT["components"]["schemas"]["ChatRequest"]
    assert chat["additionalProperties"] is False
    assert chat["properties"]["messages"]["maxItems"] == 2048
    (bias,) = (form for form in chat["properties"]["logit_bias"]["anyOf"] if form.get("type") == "object")
    assert (bias["maxProperties"], bias["propertyNames"]["pattern"]) == (300, "^(0|[1-9][0-9]{0,6})$")
    forms = chat["properties"]["allowed_token_ids"]["anyOf"]
    (ids,) = (form for form in forms if form.get("type") == "array")
    assert ids["maxItems"] == 1024
    null_schema = {"type": "null", "description": "Refused: only text is generated."}
    assert chat["properties"]["audio"] == null_schema
    assert DOCUMENT["components"]["schemas"]["UserMessage"].get("additionalProperties") is not False


# Rules that JSON Schema can't express: combinations of parameters, and the content of patterns and names.
RULES = {
    *("messages[1].content", "max_tokens", "top_logprobs", "stream_options", "tools", "tool_choice"),
    *("tool_choice.function.name", "parallel_tool_calls", "structured_outputs", "structured_outputs.regex"),
    *("structured_outputs.json.$ref", "chat_template_kwargs.chat_template", "chat_template_kwargs.self"),
    "chat_template_kwargs.eos_token",
    *("best_of", "min_tokens", "allowed_token_ids", "bad_words", "continue_final_message"),
    *("structured_outputs.json_object", "messages[1].tool_calls[0].function.arguments"),
    *("messages[0].tool_call_id", "functions", "function_call", "function_call.name"),
}
ENDPOINT_RULES = {"/tokenize": {"prompt", "messages", *CONVERSATION_PARAMETERS}}


def test_the_document_rejects_every_bad_request_apart_from_rules_between_parameters() -> None:
    for path, bad in (*bad_requests.BAD_REQUESTS, *bad_embeddings.BAD_REQUESTS):
        assert not request_is_wrong(path, body_for(path))
        body = body_for(path, **bad.changes)
        assert request_is_wrong(path, body) or bad.param in RULES | ENDPOINT_RULES.get(path, set()), bad


@pytest.mark.criterion("4.2")
async def test_replies_of_the_gateway_match_the_document(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    client.scripts = [
        [accepted(), finished(json.dumps(COMPLETION).encode())],
        [accepted(), json_delta(CHUNK), done(), finished()],
        [failed(FailureKind.REQUEST, 400, fault=InvalidParameter(param="stop", reason="no"))],
        [failed(FailureKind.ENGINE, 500)],
        [HANG],
        [failed(FailureKind.UPSTREAM, 502)],
    ]
    requests: list[tuple[str, str, str, str | None, Any, int]] = [
        ("POST", CHAT, CHAT, keys.acme, CHAT_BODY, 200),
        ("POST", CHAT, CHAT, keys.acme, {**CHAT_BODY, "stream": True}, 200),
        ("POST", CHAT, CHAT, keys.acme, CHAT_BODY, 400),
        ("POST", CHAT, CHAT, keys.acme, CHAT_BODY, 500),
        ("POST", CHAT, CHAT, keys.acme, CHAT_BODY, 504),
        ("POST", CHAT, CHAT, keys.acme, CHAT_BODY, 502),
        ("POST", CHAT, CHAT, keys.acme, CHAT_BODY, 503),
        ("POST", CHAT, CHAT, None, CHAT_BODY, 401),
        ("POST", CHAT, CHAT, keys.inactive, CHAT_BODY, 403),
        ("POST", CHAT, CHAT, keys.reader, CHAT_BODY, 403),
        ("POST", CHAT, CHAT, keys.acme, {**CHAT_BODY, "model": "no"}, 404),
        ("POST", CHAT, CHAT, keys.acme, {**CHAT_BODY, "n": 0}, 400),
        ("GET", "/v1/models", "/v1/models", keys.acme, None, 200),
        ("GET", "/v1/models", "/v1/models", keys.expired_key, None, 401),
        ("GET", "/v1/models/tiny", "/v1/models/{model}", keys.acme, None, 200),
        ("GET", "/v1/models/no/such", "/v1/models/{model}", keys.acme, None, 404),
        ("GET", "/health", "/health", None, None, 200),
        ("GET", "/health/live", "/health/live", None, None, 200),
        ("GET", "/health/ready", "/health/ready", None, None, 200),
        ("GET", "/openapi.json", "/openapi.json", None, None, 200),
    ]
    for method, path, endpoint, key, body, status in requests:
        server = with_limits(gateway, queue_timeout_s=0.2) if status == 504 else gateway
        reply = await call(server, method, path, key=key, body=body)
        assert (reply.status, _faults(method, endpoint, reply)) == (status, []), (path, reply.body)
    client.models = ()
    await asyncio.sleep(CACHE_S + 0.1)
    down = await call(gateway, "GET", "/health/ready")
    assert (down.status, _faults("GET", "/health/ready", down)) == (503, [])


async def test_the_document_requires_no_key(gateway: Gateway) -> None:
    assert (await call(gateway, "GET", "/openapi.json")).document == DOCUMENT


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
def test_a_wrong_reply_is_detected(change: dict[str, Any]) -> None:
    reply = Reply(200, {"content-type": "application/json", "x-request-id": "r"})
    reply.chunks = [json.dumps(COMPLETION).encode()]
    assert _faults("POST", CHAT, reply) == []
    reply.chunks = [json.dumps({**COMPLETION, **change}).encode()]
    assert _faults("POST", CHAT, reply) != []
