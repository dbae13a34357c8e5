"""Unsupported parameters: every entry of the tables that no other test covers."""

from __future__ import annotations

from typing import Any

import pytest

from api.openai.errors.base import ApiError
from api.openai.responses.requests import validate_response_body
from api.openai.responses.schemas.parameters import UNSUPPORTED_RESPONSES
from api.openai.schemas.parameters import UNSUPPORTED_EMBEDDINGS, UNSUPPORTED_TOKENIZE
from api.openai.validation.requests import validate_embedding_body, validate_tokenize_body

EMBEDDING = {"model": "m", "input": "hello"}
TOKENIZE = {"model": "m", "prompt": "hello"}
RESPONSE = {"model": "m", "input": "hello"}
CALL = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
REASONING = {"type": "reasoning", "id": "rs_1", "summary": []}
TOOL = {"type": "function", "name": "f"}
NESTED: dict[str, dict[str, Any]] = {
    "stream_options.include_usage": {"stream": True, "stream_options": {"include_usage": True}},
    "stream_options.continuous_usage_stats": {
        "stream": True,
        "stream_options": {"continuous_usage_stats": True},
    },
    "reasoning.summary": {"reasoning": {"summary": "auto"}},
    "reasoning.generate_summary": {"reasoning": {"generate_summary": "auto"}},
    "tools[].allowed_callers": {"tools": [{**TOOL, "allowed_callers": ["direct"]}]},
    "tools[].async": {"tools": [{**TOOL, "async": True}]},
    "tools[].defer_loading": {"tools": [{**TOOL, "defer_loading": True}]},
    "tools[].output_schema": {"tools": [{**TOOL, "output_schema": {}}]},
    "input[].async": {"input": [{**CALL, "async": True}]},
    "input[].encrypted_content": {"input": [{**REASONING, "encrypted_content": "x"}]},
    "input[].namespace": {"input": [{**CALL, "namespace": "x"}]},
}


def rejection(validate: Any, body: dict[str, Any]) -> ApiError:
    with pytest.raises(ApiError) as caught:
        validate(body)
    assert (caught.value.code, caught.value.status) == ("unsupported_parameter", 400)
    return caught.value


def cases(endpoint: str, names: Any) -> list[Any]:
    return [pytest.param(name, marks=pytest.mark.refuses(endpoint, name)) for name in sorted(names)]


@pytest.mark.criterion("1.7")
@pytest.mark.parametrize("name", cases("embeddings", UNSUPPORTED_EMBEDDINGS))
def test_an_unsupported_embeddings_parameter_is_rejected_with_the_reason(name: str) -> None:
    error = rejection(validate_embedding_body, {**EMBEDDING, name: "x"})
    assert error.param == name
    assert UNSUPPORTED_EMBEDDINGS[name] in error.message
    validate_embedding_body({**EMBEDDING, name: None})


@pytest.mark.criterion("1.7")
@pytest.mark.parametrize("name", cases("tokenize", UNSUPPORTED_TOKENIZE))
def test_an_unsupported_tokenize_parameter_is_rejected_with_the_reason(name: str) -> None:
    error = rejection(validate_tokenize_body, {**TOKENIZE, name: "x"})
    assert error.param == name
    assert UNSUPPORTED_TOKENIZE[name] in error.message
    validate_tokenize_body({**TOKENIZE, name: None})


def test_every_nested_entry_of_responses_is_tested_here() -> None:
    assert set(NESTED) == {name for name in UNSUPPORTED_RESPONSES if "." in name or "[" in name}


@pytest.mark.criterion("1.7")
@pytest.mark.parametrize("name", cases("responses", NESTED))
def test_a_nested_responses_parameter_is_named_by_its_path(name: str) -> None:
    error = rejection(validate_response_body, {**RESPONSE, **NESTED[name]})
    assert error.param == name.replace("[]", "[0]")
    assert UNSUPPORTED_RESPONSES[name] in error.message
