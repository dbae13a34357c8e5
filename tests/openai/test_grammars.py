"""Constraints are bounded, and ordinary constraints are within the bounds."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from api.openai.errors.base import ApiError
from api.openai.validation.requests import validate_chat_body

CHAT: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
UUID = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
TREE: dict[str, Any] = {
    "$defs": {
        "node": {
            "type": "object",
            "properties": {
                "$ref": {"type": "string", "minLength": 1, "maxLength": 40},
                "enum": {"enum": ["a", "b"]},
                "pattern": {"type": "string", "pattern": r"^\d{4}-\d{2}-\d{2}$"},
                "next": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/node"}]},
            },
        }
    },
    "type": "array",
    "items": {"$ref": "#/$defs/node"},
    "maxItems": 100,
}


def validate(**fields: Any) -> None:
    validate_chat_body({**CHAT, **fields})


def deep(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {}
    for _ in range(levels):
        schema = {"items": schema}
    return schema


def chain(last: str) -> dict[str, Any]:
    return {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"anyOf": [{"$ref": last}]}}, "$ref": "#/$defs/a"}


SCHEMAS: list[tuple[dict[str, Any], str, str, str]] = [
    ({"enum": ["x"] * 100_000}, "invalid_value", "", "bytes"),
    ({"enum": [1] * 501}, "array_above_max_length", ".enum", "500"),
    ({"properties": {f"p{n}": {} for n in range(1000)}}, "invalid_value", "", "objects and arrays"),
    ({"minItems": 1_000_000}, "integer_above_max_value", ".minItems", "1000"),
    ({"minLength": 1e6}, "integer_above_max_value", ".minLength", "1000"),
    ({"minProperties": 10**400}, "integer_above_max_value", ".minProperties", "1000"),
    ({"anyOf": [{"maxLength": 1000}] * 21}, "invalid_value", "", "the sum"),
    ({"properties": {"a": {"maximum": 10**400}}}, "invalid_value", ".properties.a.maximum", "64 bits"),
    (deep(32), "invalid_value", "", "32 levels"),
    ({"items": {"pattern": "(a{99}){999}"}}, "invalid_value", ".items.pattern", "above 256"),
    ({"patternProperties": {"(a{200}){200}": {}}}, "invalid_value", ".patternProperties", "40000"),
    ({"pattern": "^([a-z]{1,40}-){1,40}$"}, "invalid_value", ".pattern", "1600"),
    ({"$ref": "#"}, "invalid_value", ".$ref", "itself"),
    (chain("#/$defs/a"), "invalid_value", ".$ref.$ref.$ref", "itself"),
    ({"allOf": [{"oneOf": [{"$ref": "#"}, {"type": "null"}]}]}, "invalid_value", ".$ref", "itself"),
    ({"$ref": "#/$defs/none"}, "invalid_value", ".$ref", "does not exist"),
    ({"items": {"$ref": "https://example.org/x"}}, "invalid_value", ".items.$ref", "into the schema"),
]
PARAMETERS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "structured_outputs.json": lambda schema: {"structured_outputs": {"json": schema}},
    "response_format.json_schema.schema": lambda schema: {
        "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    },
    "tools[0].function.parameters": lambda schema: {
        "tools": [{"type": "function", "function": {"name": "f", "parameters": schema}}]
    },
}


@pytest.mark.criterion("6.8")
@pytest.mark.parametrize("parameter", PARAMETERS)
@pytest.mark.parametrize(("schema", "code", "param", "message"), SCHEMAS, ids=range(len(SCHEMAS)))
def test_schemas_that_compile_slowly_are_rejected_in_every_parameter(
    parameter: str, schema: dict[str, Any], code: str, param: str, message: str
) -> None:
    start = time.process_time()
    with pytest.raises(ApiError, match=code) as caught:
        validate(**PARAMETERS[parameter](schema))
    assert time.process_time() - start < 1.0
    assert caught.value.param == parameter + param
    assert message in caught.value.message


@pytest.mark.parametrize("parameter", PARAMETERS)
@pytest.mark.parametrize(
    "schema",
    [
        {},
        TREE,
        {"items": {"pattern": UUID}},
        {"pattern": "^([a-z]{2}-){3}$"},
        chain("#/$defs/c") | {"$defs": {"a": {}, "c": {}}},
        deep(31),
    ],
)
def test_ordinary_schemas_are_accepted(parameter: str, schema: dict[str, Any]) -> None:
    validate(**PARAMETERS[parameter](schema))


def test_a_schema_in_a_string_has_the_same_bounds() -> None:
    validate(structured_outputs={"json": json.dumps(TREE)})
    for text in ('{"$ref": "#"}', "[" * 100, "[]", "{", '{"minItems": 5000}'):
        with pytest.raises(ApiError) as caught:
            validate(structured_outputs={"json": text})
        assert caught.value.status == 400
        assert (caught.value.param or "").startswith("structured_outputs.json")


def test_the_tools_of_a_request_have_a_common_bound() -> None:
    parameters = {"description": "x" * 16_000}
    tools = [
        {"type": "function", "function": {"name": f"f{number}", "parameters": parameters}}
        for number in range(9)
    ]
    validate(tools=tools[:8])
    with pytest.raises(ApiError, match="invalid_value") as caught:
        validate(tools=tools)
    assert caught.value.param == "tools"


@pytest.mark.criterion("6.8")
@pytest.mark.parametrize(
    "pattern",
    [
        "((a{0,999}){0,999}){0,999}",
        "(.{0,1000}){0,1000}",
        "(a{200}){200}",
        "a{257}",
        "a{ 0 , 999 }",
        r"\\{999}",
        r"\p{L}+",
        r"[\PL]",
        "a" * 513,
        "a{" + "9" * 400 + "}",
    ],
)
def test_patterns_that_expand_too_much_are_rejected(pattern: str) -> None:
    with pytest.raises(ApiError) as caught:
        validate(structured_outputs={"regex": pattern})
    assert (caught.value.status, caught.value.param) == (400, "structured_outputs.regex")


@pytest.mark.parametrize("pattern", [UUID, r"\{999\}", r"\\p+", "a{256}", "(yes|no){1,}", "[a-z]*", "a{0}"])
def test_ordinary_patterns_are_accepted(pattern: str) -> None:
    validate(structured_outputs={"regex": pattern})


@pytest.mark.criterion("6.8")
def test_choices_are_bounded_in_number_and_total_size() -> None:
    validate(structured_outputs={"choice": ["x" * 64] * 128})
    for choices, code in (
        (["x"] * 129, "array_above_max_length"),
        (["é" * 1024] * 5, "invalid_value"),
        (["x" * 1024] * 1024, "array_above_max_length"),
    ):
        with pytest.raises(ApiError, match=code) as caught:
            validate(structured_outputs={"choice": choices})
        assert caught.value.param == "structured_outputs.choice"


@pytest.mark.parametrize("key", ["self", "model_config", "params", "kwargs", "conversation", "range"])
def test_template_variables_can_not_be_arguments_of_the_renderer(key: str) -> None:
    with pytest.raises(ApiError, match="unsupported_parameter"):
        validate(chat_template_kwargs={key: 1})
