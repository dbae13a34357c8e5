"""Refused parameters of every endpoint, from their declarations."""

from __future__ import annotations

from typing import Any

import pytest

from api.openai.errors.base import ApiError
from api.openai.responses.requests import validate_response_body
from api.openai.responses.schemas.request import ResponseRequest
from api.openai.schemas.chat import ChatRequest
from api.openai.schemas.completions import CompletionRequest
from api.openai.schemas.embeddings import EmbeddingRequest
from api.openai.schemas.policies import refusals
from api.openai.schemas.tokenize import TokenizeRequest
from api.openai.validation.requests import (
    validate_chat_body,
    validate_completion_body,
    validate_embedding_body,
    validate_tokenize_body,
)

EMBEDDING = {"model": "m", "input": "hello"}
TOKENIZE = {"model": "m", "prompt": "hello"}
RESPONSE = {"model": "m", "input": "hello"}
TOOL = {"type": "function", "name": "f"}
CHAT = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
COMPLETION = {"model": "m", "prompt": "hello"}
ENDPOINTS = (
    ("chat", ChatRequest, validate_chat_body, CHAT),
    ("completions", CompletionRequest, validate_completion_body, COMPLETION),
    ("embeddings", EmbeddingRequest, validate_embedding_body, EMBEDDING),
    ("tokenize", TokenizeRequest, validate_tokenize_body, TOKENIZE),
    ("responses", ResponseRequest, validate_response_body, RESPONSE),
)
NESTED: dict[str, dict[str, Any]] = {
    "stream_options.continuous_usage_stats": {
        "stream": True,
        "stream_options": {"continuous_usage_stats": True},
    },
    "tools[].allowed_callers": {"tools": [{**TOOL, "allowed_callers": ["direct"]}]},
    "tools[].async": {"tools": [{**TOOL, "async": True}]},
}


@pytest.mark.criterion("1.7")
@pytest.mark.parametrize(
    ("schema", "validate", "base", "name"),
    [
        pytest.param(
            schema, validate, base, name, id=f"{endpoint}-{name}", marks=pytest.mark.refuses(endpoint, name)
        )
        for endpoint, schema, validate, base in ENDPOINTS
        for name in refusals(schema)
    ],
)
def test_a_refused_parameter_is_named_with_the_reason_and_may_be_null(
    schema: Any, validate: Any, base: dict[str, Any], name: str
) -> None:
    validate({**base, name: None})
    values: tuple[Any, ...] = ("x", 0, False, [], {})
    for value in values:
        error = rejection(validate, {**base, name: value})
        assert error.param == name
        assert refusals(schema)[name] in error.message


def rejection(validate: Any, body: dict[str, Any]) -> ApiError:
    with pytest.raises(ApiError) as excinfo:
        validate(body)
    assert (excinfo.value.code, excinfo.value.status) == ("unsupported_parameter", 400)
    return excinfo.value


@pytest.mark.criterion("1.7")
@pytest.mark.parametrize("name", NESTED)
def test_a_nested_responses_parameter_is_named_by_its_path(name: str) -> None:
    error = rejection(validate_response_body, {**RESPONSE, **NESTED[name]})
    assert error.param == name.replace("[]", "[0]")
