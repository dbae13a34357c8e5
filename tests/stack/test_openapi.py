"""Responses of a real engine match the OpenAPI document exactly."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from pydantic import BaseModel

from api.openai.schemas.response_bodies.chat import ChatCompletion, ChatCompletionChunk
from api.openai.schemas.response_bodies.completions import Completion
from api.openai.schemas.response_bodies.resources import Detokenized, Tokenized
from tests.openapi_validation import DOCUMENT, answer_faults, request_is_wrong
from tests.stack.conftest import OwnedStack

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
TALK = {"model": "tiny", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 6}
TEXT = {"model": "tiny", "prompt": "hello", "max_tokens": 6}
USAGE = {"stream": True, "stream_options": {"include_usage": True}}
SCHEMA = {"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"]}
FORMAT = {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}}

ASKED: list[tuple[str, dict[str, Any], type[BaseModel]]] = [
    (CHAT, TALK, ChatCompletion),
    (CHAT, {**TALK, "n": 3, "logprobs": True, "top_logprobs": 2, "seed": 1}, ChatCompletion),
    (CHAT, {**TALK, "logprobs": True, "return_token_ids": True}, ChatCompletion),
    (CHAT, {**TALK, "response_format": FORMAT, "max_tokens": 40, "stop": ["}"]}, ChatCompletion),
    (CHAT, {**TALK, **USAGE}, ChatCompletionChunk),
    (CHAT, {**TALK, **USAGE, "n": 2, "logprobs": True, "top_logprobs": 2}, ChatCompletionChunk),
    (CHAT, {**TALK, "stream": True, "return_token_ids": True}, ChatCompletionChunk),
    (COMPLETIONS, TEXT, Completion),
    (COMPLETIONS, {**TEXT, "prompt": ["a", "b"], "n": 2, "logprobs": 3, "echo": True}, Completion),
    (COMPLETIONS, {**TEXT, "return_token_ids": True}, Completion),
    (COMPLETIONS, {**TEXT, **USAGE, "logprobs": 2}, Completion),
    ("/v1/tokenize", {"model": "tiny", "prompt": "hello", "return_token_strs": True}, Tokenized),
    ("/v1/tokenize", {"model": "tiny", "messages": TALK["messages"]}, Tokenized),
    ("/v1/detokenize", {"model": "tiny", "tokens": [5, 6]}, Detokenized),
]


def _documents(answer: httpx.Response) -> list[bytes]:
    if answer.headers["content-type"] == "application/json":
        return [answer.content]
    lines = answer.content.splitlines()
    return [line.removeprefix(b"data: ") for line in lines if line.startswith(b"data: {")]


@pytest.mark.criterion("1.4")
def test_responses_of_a_real_engine_match_the_document(ready_stack: OwnedStack) -> None:
    with ready_stack.client() as client:
        for path, body, model in ASKED:
            assert not request_is_wrong(path, body)
            answer = client.post(path, json=body)
            assert answer.status_code == 200, answer.text
            faults = answer_faults("POST", path, answer.status_code, answer.headers, answer.content)
            assert faults == [], (path, body)
            documents = _documents(answer)
            # A busy machine joins tokens, but never the first with the last.
            assert len(documents) > (1 if body.get("stream") else 0)
            for document in documents:
                # Closed, unlike the document's schemas: new fields of the engine must be reviewed.
                model.model_validate_json(document)


def test_lists_health_reports_and_the_document_match_the_document(ready_stack: OwnedStack) -> None:
    paths = {
        "/v1/models": "/v1/models",
        "/v1/models/tiny": "/v1/models/{model}",
        "/health/live": "/health/live",
        "/health/ready": "/health/ready",
        "/openapi.json": "/openapi.json",
    }
    with ready_stack.client() as client:
        for path, endpoint in paths.items():
            answer = client.get(path)
            assert answer.status_code == 200
            assert answer_faults("GET", endpoint, 200, answer.headers, answer.content) == []
        assert client.get("/openapi.json").json() == json.loads(json.dumps(DOCUMENT))


def test_errors_of_a_real_engine_match_the_document(ready_stack: OwnedStack) -> None:
    with ready_stack.client() as client:
        for changes in ({"max_tokens": 100_000}, {"messages": [{"role": "user", "content": "a " * 3000}]}):
            answer = client.post(CHAT, json={**TALK, **changes})
            assert answer.json()["error"]["code"] == "context_length_exceeded"
            assert answer_faults("POST", CHAT, 400, answer.headers, answer.content) == []
