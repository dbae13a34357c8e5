"""Invalid Responses requests: the code, and the parameter in terms of the request."""

from __future__ import annotations

from typing import Any, get_args, get_type_hints

import pytest
from openai.types.responses.response_create_params import (
    ResponseCreateParamsNonStreaming,
    ResponseCreateParamsStreaming,
)
from openai.types.responses.response_includable import ResponseIncludable
from openai.types.responses.response_input_item_param import ResponseInputItemParam
from openai.types.responses.service_tier import ServiceTier
from openai.types.responses.tool_param import ToolParam

from api.openai.errors.base import ApiError
from api.openai.responses.requests import validate_response_body
from api.openai.responses.schemas.parameters import (
    BUILT_IN_TOOLS,
    INCLUDABLE,
    UNSUPPORTED_ITEMS,
)
from api.openai.responses.schemas.request import LOGPROBS, ResponseRequest
from api.openai.validation.grammars import MAX_SCHEMA_CHARACTERS

USER = {"role": "user", "content": "hi"}
BODY: dict[str, Any] = {"model": "m", "input": "hi"}
TOOL: dict[str, Any] = {"type": "function", "name": "f", "parameters": {"type": "object"}}
CALL = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
OUTPUT = {"type": "function_call_output", "call_id": "c", "output": "4"}
DEEP = "[" * 65 + "]" * 65
LARGE = {"type": "object", "properties": {"a": {"const": "x" * MAX_SCHEMA_CHARACTERS}}}


def with_message(*parts: Any, role: str = "user") -> dict[str, Any]:
    return {"input": [USER, {"role": role, "content": list(parts)}]}


REJECTIONS: list[tuple[dict[str, Any], str, str | None]] = [
    # top level
    ({"model": None}, "missing_required_parameter", "model"),
    ({"input": None}, "missing_required_parameter", "input"),
    ({"input": 5}, "invalid_type", "input"),
    ({"input": []}, "empty_array", "input"),
    ({"inputs": "hi"}, "unknown_parameter", "inputs"),
    ({"conversation": "conv_1"}, "unsupported_parameter", "conversation"),
    ({"prompt": {"id": "pmpt_1"}}, "unsupported_parameter", "prompt"),
    ({"background_options": {}}, "unsupported_parameter", "background_options"),
    ({"messages": [USER]}, "unsupported_parameter", "messages"),
    ({"max_tokens": 5}, "unsupported_parameter", "max_tokens"),
    ({"response_format": {"type": "text"}}, "unsupported_parameter", "response_format"),
    ({"n": 2}, "unsupported_parameter", "n"),
    ({"cache_salt": "x"}, "unsupported_parameter", "cache_salt"),
    ({"lora_request": {}}, "unsupported_parameter", "lora_request"),
    ({"truncation": "middle"}, "invalid_value", "truncation"),
    ({"service_tier": "free"}, "invalid_value", "service_tier"),
    ({"temperature": 2.5}, "decimal_above_max_value", "temperature"),
    ({"temperature": "hot"}, "invalid_type", "temperature"),
    ({"max_output_tokens": 0}, "integer_below_min_value", "max_output_tokens"),
    ({"max_output_tokens": True}, "invalid_type", "max_output_tokens"),
    ({"top_logprobs": 21}, "integer_above_max_value", "top_logprobs"),
    ({"top_logprobs": 2}, "invalid_value", "top_logprobs"),
    ({"include": [LOGPROBS, "all"]}, "invalid_value", "include[1]"),
    ({"metadata": {"a": 1}}, "invalid_type", "metadata.a"),
    ({"metadata": {"k" * 65: "v"}}, "string_above_max_length", "metadata"),
    ({"instructions": ["be brief"]}, "invalid_type", "instructions"),
    ({"previous_response_id": ""}, "string_below_min_length", "previous_response_id"),
    ({"background": True, "store": False}, "invalid_value", "background"),
    ({"stream_options": {"on_disconnect": "continue"}}, "invalid_value", "stream_options"),
    ({"truncation": "none"}, "invalid_value", "truncation"),
    ({"reasoning": {"summary": "long"}}, "invalid_value", "reasoning.summary"),
    ({"tools": [{"type": "telepathy"}]}, "invalid_value", "tools[0].type"),
    ({"tools": [{"type": "web_search"}], "tool_choice": "required"}, "invalid_value", "tool_choice"),
    (
        {"tools": [TOOL, {"type": "web_search"}], "tool_choice": {"type": "web_search"}},
        "unsupported_value",
        "tool_choice.type",
    ),
    (
        {"tools": [{"type": "namespace", "name": "n", "tools": [{**TOOL, "name": "a b"}]}]},
        "invalid_value",
        "tools[0].tools[0].name",
    ),
    (
        {
            "tools": [
                {"type": "namespace", "name": "n", "tools": [{**TOOL, "parameters": LARGE, "strict": True}]}
            ]
        },
        "invalid_value",
        "tools[0].tools[0].parameters",
    ),
    ({"input": [{"type": "compaction_trigger"}]}, "unsupported_value", "input[0].type"),
    ({"input": [{"type": "compaction"}]}, "missing_required_parameter", "input[0].encrypted_content"),
    *(
        (
            {"input": [{"type": "compaction", "encrypted_content": content}]},
            "invalid_value",
            "input[0].encrypted_content",
        )
        for content in ("", "gAAAAB", "cy1.?", "cy1._w==", "cy2.aGk=")
    ),
    (
        {"input": [{"type": "custom_tool_call", "call_id": "c"}]},
        "missing_required_parameter",
        "input[0].name",
    ),
    (
        {"stream": True, "stream_options": {"on_disconnect": "stay"}},
        "invalid_value",
        "stream_options.on_disconnect",
    ),
    # text and reasoning
    ({"text": "json"}, "invalid_type", "text"),
    ({"text": {"format": {"type": "xml"}}}, "invalid_value", "text.format.type"),
    (
        {"text": {"format": {"type": "json_schema", "name": "n"}}},
        "missing_required_parameter",
        "text.format.schema",
    ),
    (
        {"text": {"format": {"type": "json_schema", "name": "a b", "schema": {}}}},
        "invalid_value",
        "text.format.name",
    ),
    (
        {"text": {"format": {"type": "json_schema", "name": "n", "schema": LARGE}}},
        "invalid_value",
        "text.format.schema",
    ),
    (
        {"text": {"format": {"type": "json_schema", "name": "n", "schema": {"items": {"$ref": "#/x"}}}}},
        "invalid_value",
        "text.format.schema.items.$ref",
    ),
    (
        {"text": {"format": {"type": "json_object"}}, "structured_outputs": {"choice": ["a"]}},
        "invalid_value",
        "structured_outputs",
    ),
    ({"structured_outputs": {"grammar": "x"}}, "unsupported_parameter", "structured_outputs.grammar"),
    ({"reasoning": {"effort": "huge"}}, "invalid_value", "reasoning.effort"),
    ({"reasoning": {"mode": "pro"}}, "unsupported_value", "reasoning.mode"),
    ({"reasoning": {"budget": 5}}, "unknown_parameter", "reasoning.budget"),
    # tools
    (
        {"tools": [{"type": "function", "function": {"name": "f"}}]},
        "missing_required_parameter",
        "tools[0].name",
    ),
    ({"tools": [TOOL, TOOL]}, "invalid_value", "tools"),
    (
        {"tools": [TOOL, {**TOOL, "name": "g", "parameters": LARGE, "strict": True}]},
        "invalid_value",
        "tools[1].parameters",
    ),
    ({"tool_choice": "required"}, "invalid_value", "tool_choice"),
    ({"tools": [TOOL], "tool_choice": "any"}, "invalid_value", "tool_choice"),
    (
        {"tools": [TOOL], "tool_choice": {"type": "function", "name": "g"}},
        "invalid_value",
        "tool_choice.name",
    ),
    ({"tools": [TOOL], "tool_choice": {"type": "file_search"}}, "unsupported_value", "tool_choice.type"),
    (
        {
            "tools": [TOOL],
            "tool_choice": {
                "type": "allowed_tools",
                "mode": "auto",
                "tools": [{"type": "function", "name": "g"}],
            },
        },
        "invalid_value",
        "tool_choice.tools[0].name",
    ),
    (
        {
            "tools": [TOOL, {**TOOL, "name": "g", "parameters": LARGE, "strict": True}],
            "tool_choice": {
                "type": "allowed_tools",
                "mode": "auto",
                "tools": [{"type": "function", "name": "g"}],
            },
        },
        "invalid_value",
        "tools[1].parameters",
    ),
    # items
    ({"input": [7]}, "invalid_type", "input[0]"),
    ({"input": [{}]}, "missing_required_parameter", "input[0].type"),
    ({"input": [{"role": "tool", "content": "4"}]}, "invalid_value", "input[0].role"),
    ({"input": [{"type": "message", "content": "4"}]}, "missing_required_parameter", "input[0].role"),
    ({"input": [{"role": "user"}]}, "missing_required_parameter", "input[0].content"),
    ({"input": [{"role": "user", "content": None}]}, "invalid_type", "input[0].content"),
    ({"input": [{"type": "note"}]}, "invalid_value", "input[0].type"),
    (
        with_message({"type": "input_image", "image_url": "x"}),
        "unsupported_value",
        "input[1].content[0].type",
    ),
    (
        with_message({"type": "input_text", "text": "a"}, {"type": "input_file"}),
        "unsupported_value",
        "input[1].content[1].type",
    ),
    (with_message({"type": "note", "text": "a"}), "invalid_value", "input[1].content[0].type"),
    (with_message({"type": "input_text"}), "missing_required_parameter", "input[1].content[0].text"),
    (
        with_message({"type": "input_image", "text": "a"}, role="assistant"),
        "invalid_value",
        "input[1].content[0].type",
    ),
    ({"input": [{**CALL, "arguments": []}]}, "invalid_type", "input[0].arguments"),
    ({"input": [USER, CALL, {**CALL, "arguments": DEEP}]}, "invalid_value", "input[2].arguments"),
    ({"input": [USER, OUTPUT]}, "invalid_value", "input[1].call_id"),
    ({"input": [CALL, {**OUTPUT, "output": {}}]}, "invalid_type", "input[1].output"),
    (
        {"input": [CALL, {**OUTPUT, "output": [{"type": "input_image"}]}]},
        "unsupported_value",
        "input[1].output[0].type",
    ),
    ({"input": [USER] * 2049}, "array_above_max_length", "input"),
    ({"input": [USER] * 2048, "instructions": "be brief"}, "array_above_max_length", "input"),
    (with_message(*[{"type": "input_text", "text": ""}] * 16_384), "array_above_max_length", "input"),
]


@pytest.mark.criterion("1.7")
@pytest.mark.parametrize(("change", "code", "param"), REJECTIONS)
def test_the_first_fault_is_reported(change: dict[str, Any], code: str, param: str | None) -> None:
    with pytest.raises(ApiError) as excinfo:
        validate_response_body({**BODY, **change})
    assert (excinfo.value.status, excinfo.value.code, excinfo.value.param) == (400, code, param)


def test_a_body_must_be_an_object() -> None:
    with pytest.raises(ApiError, match="invalid_json"):
        validate_response_body([BODY])


def test_every_parameter_of_the_sdk_is_supported_or_rejected_by_name() -> None:
    sdk_parameters = set(get_type_hints(ResponseCreateParamsNonStreaming))
    sdk_parameters |= set(get_type_hints(ResponseCreateParamsStreaming))
    assert len(sdk_parameters) > 30
    assert sdk_parameters <= set(ResponseRequest.model_fields)


def test_every_value_of_the_sdk_is_accepted_or_rejected_with_a_reason() -> None:
    assert set(get_args(ResponseIncludable)) == set(INCLUDABLE)
    assert _types(ToolParam) - {"function", "namespace"} == set(BUILT_IN_TOOLS)
    items = _types(ResponseInputItemParam)
    assert len(items) > 25
    for item_type in items:
        code = _code({"input": [USER, {"type": item_type, "id": "x"}]})
        assert (code == "unsupported_value") == (item_type in UNSUPPORTED_ITEMS), item_type
        assert code in (None, "missing_required_parameter", "unsupported_value"), item_type
    tiers = {tier for tier in get_args(get_args(ServiceTier)[0]) if tier}
    for tier in tiers:
        assert _code({"service_tier": tier}) is None, tier


def _types(union: Any) -> set[str]:
    """All values of ``type`` in a union of the SDK's typed dictionaries."""
    types: set[str] = set()
    for member in get_args(union):
        hint = get_type_hints(member).get("type")
        types |= {value for value in _literals(hint) if value}
    return types


def _literals(hint: Any) -> set[Any]:
    inner = get_args(hint)
    return set().union(*(_literals(value) for value in inner)) if inner else {hint} - {type(None)}


def _code(change: dict[str, Any]) -> str | None:
    try:
        validate_response_body({**BODY, **change})
    except ApiError as error:
        return error.code
    return None
