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
    ({"enum": ["x" * 1000] * 121}, "invalid_value", "", "121000 characters in names and enum values"),
    ({"const": "x" * 120_001}, "invalid_value", "", "shorten the names and values"),
    ({"enum": [1] * 1001}, "invalid_value", "", "limit of 1000; use a string"),
    (
        {"items": {"enum": [1] * 600}, "contains": {"enum": [2] * 600}},
        "invalid_value",
        "",
        "1200 enum values, above the limit of 1000",
    ),
    (
        {"anyOf": [{"properties": {f"p{n}": {} for n in range(2501)}}] * 2},
        "invalid_value",
        "",
        "5002 properties, above the limit of 5000; split",
    ),
    ({"anyOf": [{}] * 20_000}, "invalid_value", "", "20001 schemas"),
    ({"minItems": 1_000_000}, "integer_above_max_value", ".minItems", "1000"),
    ({"minLength": 1e6}, "integer_above_max_value", ".minLength", "1000"),
    ({"minProperties": 10**400}, "invalid_value", ".minProperties", "64 bits"),
    ({"anyOf": [{"maxLength": 1000}] * 21}, "invalid_value", "", "in the sum"),
    ({"properties": {"a": {"maximum": 10**400}}}, "invalid_value", ".properties.a.maximum", "64 bits"),
    (deep(32), "invalid_value", "", "limit of 32"),
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
        "tools": [{"type": "function", "function": {"name": "f", "strict": True, "parameters": schema}}]
    },
}


@pytest.mark.criterion("6.8")
@pytest.mark.parametrize("parameter", PARAMETERS)
@pytest.mark.parametrize(("schema", "code", "param", "message"), SCHEMAS, ids=range(len(SCHEMAS)))
def test_schemas_that_compile_slowly_are_rejected_in_every_parameter(
    parameter: str, schema: dict[str, Any], code: str, param: str, message: str
) -> None:
    start = time.process_time()
    with pytest.raises(ApiError, match=code) as excinfo:
        validate(**PARAMETERS[parameter](schema))
    assert time.process_time() - start < 4.0
    assert excinfo.value.param == parameter + param
    assert message in excinfo.value.message


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


@pytest.mark.parametrize("parameter", PARAMETERS)
def test_a_long_chain_of_references_is_not_called_a_cycle(parameter: str) -> None:
    for length, fault in ((240, "does not exist"), (300, "the chain of references is too long")):
        definitions = {f"d{n}": {"$ref": f"#/$defs/d{n + 1}"} for n in range(length)}
        with pytest.raises(ApiError, match="invalid_value") as excinfo:
            validate(**PARAMETERS[parameter]({"$ref": "#/$defs/d0", "$defs": definitions}))
        assert fault in excinfo.value.message


def test_a_schema_in_a_string_has_the_same_bounds() -> None:
    validate(structured_outputs={"json": json.dumps(TREE)})
    for text in ('{"$ref": "#"}', "[" * 100, "[]", "{", '{"minItems": 5000}'):
        with pytest.raises(ApiError) as excinfo:
            validate(structured_outputs={"json": text})
        assert excinfo.value.status == 400
        assert (excinfo.value.param or "").startswith("structured_outputs.json")


def test_the_strict_tools_of_a_request_have_a_common_bound() -> None:
    parameters = {"enum": ["x" * 60_000]}
    tools = [
        {"type": "function", "function": {"name": f"f{number}", "strict": True, "parameters": parameters}}
        for number in range(3)
    ]
    validate(tools=tools[:2])
    with pytest.raises(ApiError, match="invalid_value") as excinfo:
        validate(tools=tools)
    assert excinfo.value.param == "tools"
    assert "make some of them not strict" in excinfo.value.message
    validate(tools=tools, tool_choice={"type": "function", "function": {"name": "f1"}})
    validate(tools=tools, tool_choice="none")


# Schemas that don't compile, or not in time.
UNCOMPILED: list[dict[str, Any]] = [
    {"properties": {"a": {"type": "string", "maxLength": 2000}}},
    {"enum": [f"value {number}" for number in range(1600)]},
    {"type": "object", "description": "x" * 20_000},
    {"properties": {f"p{number}": {"type": "string"} for number in range(4000)}},
    {"pattern": r"^\p{L}+(a{999}){999}$"},
    {"$ref": "https://example.org/schema"},
    {"$ref": "#"},
    {"properties": {"a": {"$ref": "#/$defs/none"}}},
    {"x-order": {"$ref": 1}, "unknown": [[]], "default": 10**30},
    deep(50),
]


@pytest.mark.case("clients.14")
@pytest.mark.parametrize("schema", UNCOMPILED, ids=range(len(UNCOMPILED)))
@pytest.mark.parametrize("strict", [None, False])
@pytest.mark.parametrize("choice", [None, "auto", "none", "required", "name"])
def test_a_tool_that_is_not_strict_has_no_compile_limits(
    schema: dict[str, Any], strict: bool | None, choice: str | None
) -> None:
    function = {"name": "f", "parameters": schema, "strict": strict}
    tool_choice = {"type": "function", "function": {"name": "f"}}
    validate(
        tools=[{"type": "function", "function": function}],
        tool_choice=tool_choice if choice == "name" else choice,
    )


@pytest.mark.case("clients.15")
@pytest.mark.parametrize("parameter", PARAMETERS)
@pytest.mark.parametrize("keyword", ["default", "const", "examples", "x-example", "title", "enum"])
def test_data_in_a_schema_is_not_a_schema(parameter: str, keyword: str) -> None:
    data = {"$ref": "#/none", "pattern": r"\p{L}", "maxLength": 5000, "properties": {"enum": [1] * 2000}}
    schema = {"properties": {"a": {keyword: [data] if keyword in ("enum", "examples") else data}}}
    validate(**PARAMETERS[parameter](schema))


@pytest.mark.case("clients.15")
@pytest.mark.parametrize("parameter", PARAMETERS)
@pytest.mark.parametrize(
    "name", ["$ref", "enum", "default", "const", "examples", "properties", "x-a", "items"]
)
def test_a_property_with_the_name_of_a_keyword_is_a_property(parameter: str, name: str) -> None:
    validate(**PARAMETERS[parameter]({"type": "object", "properties": {name: {"type": "string"}}}))
    wrong = {"type": "object", "properties": {name: {"maxLength": 5000}}}
    with pytest.raises(ApiError, match="integer_above_max_value") as excinfo:
        validate(**PARAMETERS[parameter](wrong))
    assert excinfo.value.param == f"{parameter}.properties.{name}.maxLength"


@pytest.mark.case("clients.16")
@pytest.mark.parametrize("parameter", PARAMETERS)
@pytest.mark.parametrize(
    "schema",
    [
        {"enum": [f"{number:120}" for number in range(1000)]},
        {"type": "object", "properties": {f"property {n}": {"type": "string"} for n in range(5000)}},
        {"type": "object", "description": "x" * 100_000},
    ],
    ids=["values", "properties", "description"],
)
def test_schemas_of_the_sizes_that_openai_allows_are_accepted(parameter: str, schema: dict[str, Any]) -> None:
    validate(**PARAMETERS[parameter](schema))


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
    with pytest.raises(ApiError) as excinfo:
        validate(structured_outputs={"regex": pattern})
    assert (excinfo.value.status, excinfo.value.param) == (400, "structured_outputs.regex")


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
        with pytest.raises(ApiError, match=code) as excinfo:
            validate(structured_outputs={"choice": choices})
        assert excinfo.value.param == "structured_outputs.choice"


@pytest.mark.parametrize("key", ["self", "model_config", "params", "kwargs", "conversation", "range"])
def test_template_variables_can_not_be_arguments_of_the_renderer(key: str) -> None:
    with pytest.raises(ApiError, match="unsupported_parameter"):
        validate(chat_template_kwargs={key: 1})
