"""Bodies crafted to keep the gateway busy are rejected quickly."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import BaseModel

from api.gateway.document.json_schemas import request_schemas
from api.openai.errors.base import ApiError
from api.openai.responses.requests import validate_response_body
from api.openai.responses.schemas.request import ResponseRequest
from api.openai.schemas.chat import ChatRequest
from api.openai.validation.requests import validate_chat_body, validate_completion_body
from api.openai.validation.sizes import MAX_ELEMENTS

USER = {"role": "user", "content": "hi"}
CHAT: dict[str, Any] = {"model": "m", "messages": [USER]}
LONG = {"role": "user", "content": [{"type": "text", "text": "x"}] * 200_000}
KEYS = {f"k{number}": 1 for number in range(600_000)}
CALL = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
CALLS = {"role": "assistant", "content": ""}
HOSTILE: list[tuple[dict[str, Any], str, str | None]] = [
    ({"prompt": [1, *[""] * 1_300_000]}, "array_above_max_length", "prompt"),
    ({"prompt": [1, *[""] * 100_000]}, "invalid_type", "prompt[1]"),
    ({"prompt": [""] * 100_000}, "string_below_min_length", "prompt[0]"),
    ({"prompt": [1] * 3_900_000}, "array_above_max_length", "prompt"),
    ({"prompt": [[1] * 1000] * 1000}, "array_above_max_length", "prompt"),
    ({"prompt": [[""] * 1000] * 100}, "invalid_type", "prompt[0][0]"),
    ({**KEYS, "prompt": "x"}, "invalid_request", None),
    ({"prompt": "x", "stream_options": KEYS}, "object_above_max_properties", "stream_options"),
    ({"prompt": "x", "allowed_token_ids": [1] * 1_300_000}, "array_above_max_length", "allowed_token_ids"),
    ({"prompt": "x", "logit_bias": KEYS}, "object_above_max_properties", "logit_bias"),
    ({"prompt": "x", "stop": [1] * 1_300_000}, "array_above_max_length", "stop"),
    ({"prompt": "x", "k" * 2000: 1}, "string_above_max_length", "k" * 200 + "…"),
    ({"messages": [7] * 99_000}, "array_above_max_length", "messages"),
    ({"messages": [{"role": "user", "x": 1, "y": 2}] * 2048}, "missing_required_parameter", None),
    ({"messages": [LONG]}, "array_above_max_length", "messages"),
    ({"messages": [{"role": "user", "content": [""] * 16_000}]}, "invalid_type", "messages[0].content[0]"),
    ({"messages": [{**CALLS, "tool_calls": [CALL] * 128}] * 300}, "array_above_max_length", "messages"),
    ({"messages": [USER], "tools": [{}] * 90_000}, "array_above_max_length", "tools"),
    ({"messages": [USER], "modalities": ["x"] * 1_300_000}, "array_above_max_length", "modalities"),
]


@pytest.mark.criterion("6.8")
@pytest.mark.parametrize("case", range(len(HOSTILE)))
def test_no_body_keeps_the_gateway_busy(case: int) -> None:
    body, code, param = HOSTILE[case]
    validate = validate_chat_body if "messages" in body else validate_completion_body
    start = time.process_time()
    with pytest.raises(ApiError) as excinfo:
        validate({"model": "m", **body})
    assert time.process_time() - start < 1.0
    assert excinfo.value.code == code
    assert param is None or excinfo.value.param == param


def test_the_longest_prompt_of_token_ids_is_accepted() -> None:
    prompt = [1] * MAX_ELEMENTS
    assert validate_completion_body({"model": "m", "prompt": prompt}).fields["prompt"] == prompt


@pytest.mark.parametrize(
    "arguments",
    ["[" * 65, '{"a":' * 100_000, "[" * 65 + "]" * 65, "[]," * 100_001, '{"a": ' + "1" * 4301 + "}"],
    ids=["open", "long", "closed", "many", "digits"],
)
def test_arguments_of_earlier_tool_calls_are_bounded_in_depth_and_length_of_numbers(arguments: str) -> None:
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": arguments}}
    with pytest.raises(ApiError, match="invalid_value") as excinfo:
        validate_chat_body({**CHAT, "messages": [USER, {"role": "assistant", "tool_calls": [call]}]})
    assert excinfo.value.param == "messages[1].tool_calls[0].function.arguments"


@pytest.mark.parametrize(
    "arguments", ["{}", "[" * 64 + "]" * 64, '{"a": "' + "[" * 500 + '"}', "no JSON", "1" * 4300]
)
def test_other_arguments_are_accepted(arguments: str) -> None:
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": arguments}}
    messages = [USER, {"role": "assistant", "tool_calls": [call]}]
    assert validate_chat_body({**CHAT, "messages": messages}).fields["messages"] == messages


CONVERSATIONS = [
    (ChatRequest, "messages", validate_chat_body),
    (ResponseRequest, "input", validate_response_body),
]


@pytest.mark.criterion("6.8")
@pytest.mark.parametrize(("schema", "name", "validate"), CONVERSATIONS)
def test_the_document_states_the_maximum_length_of_a_conversation(
    schema: type[BaseModel], name: str, validate: Callable[[Any], Any]
) -> None:
    document = json.dumps(request_schemas([schema])[schema.__name__]["properties"][name])
    (max_length,) = (int(bound) for bound in re.findall(r'"maxItems": (\d+)', document))
    validate({"model": "m", name: [USER] * max_length})
    with pytest.raises(ApiError, match="array_above_max_length"):
        validate({"model": "m", name: [USER] * (max_length + 1)})
