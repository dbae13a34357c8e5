"""Function tools are strict by default where their schema is compatible, and the response says so."""

from __future__ import annotations

from typing import Any

import pytest

from api.openai.responses.requests import validate_response_body


def effective(parameters: Any, **fields: Any) -> bool:
    """Return the effective value in the response, which must be the engine's."""
    tool = {"type": "function", "name": "f", "parameters": parameters, **fields}
    plan = validate_response_body({"model": "m", "input": "hi", "tools": [tool]})
    (echo,) = plan.echo["tools"]
    assert plan.chat_fields["tools"][0]["function"]["strict"] is echo["strict"]
    assert echo["parameters"] == parameters
    return bool(echo["strict"])


def closed(**properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": [*properties],
        "additionalProperties": False,
    }


TEXT = {"type": "string"}
COMPATIBLE: list[dict[str, Any]] = [
    closed(),
    closed(a=TEXT, b={"type": ["integer", "null"]}),
    closed(a={"type": "array", "items": closed(b={"enum": ["x", "y"]})}),
    closed(a={"anyOf": [closed(b=TEXT), {"type": "null"}]}),
    {**closed(next={"$ref": "#/$defs/n"}), "$defs": {"n": closed(v=TEXT)}, "title": "t"},
    closed(enum=TEXT, default=TEXT),
]
INCOMPATIBLE: list[Any] = [
    None,
    {},
    {"type": "object"},
    {**closed(a=TEXT), "required": []},
    {**closed(a=TEXT), "additionalProperties": True},
    {key: value for key, value in closed(a=TEXT).items() if key != "additionalProperties"},
    closed(a={}),
    closed(a=True),
    closed(a={"type": "object", "properties": {}}),
    closed(a={**TEXT, "maxLength": 20}),
    closed(a={**TEXT, "pattern": "^a$"}),
    closed(a={"type": "array", "uniqueItems": True}),
    closed(a={"$ref": "#/$defs/none"}),
    closed(a={"enum": list(range(1001))}),
    {**closed(a=TEXT), "anyOf": [TEXT]},
    {"type": "string"},
]


@pytest.mark.case("clients.21")
@pytest.mark.parametrize("parameters", COMPATIBLE, ids=range(len(COMPATIBLE)))
def test_a_compatible_tool_is_strict_unless_the_client_says_otherwise(parameters: dict[str, Any]) -> None:
    assert effective(parameters)
    assert effective(parameters, strict=None)
    assert not effective(parameters, strict=False)


@pytest.mark.case("clients.21")
@pytest.mark.parametrize("parameters", INCOMPATIBLE, ids=range(len(INCOMPATIBLE)))
def test_another_tool_is_not_strict_and_keeps_its_schema(parameters: Any) -> None:
    assert not effective(parameters)


def test_an_explicit_value_is_kept() -> None:
    assert effective({"type": "object"}, strict=True)


@pytest.mark.case("clients.21")
def test_tools_beyond_the_common_limit_of_schemas_are_not_strict() -> None:
    parameters = closed(a={"const": "x" * 50_000})
    tools = [{"type": "function", "name": f"f{number}", "parameters": parameters} for number in range(3)]
    plan = validate_response_body({"model": "m", "input": "hi", "tools": tools})
    assert [tool["strict"] for tool in plan.echo["tools"]] == [True, True, False]
