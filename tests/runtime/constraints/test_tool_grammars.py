"""Grammars of tool calls: any declared parameters compile, to objects, with bounded white space."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from inference_worker.runtime.constraints.compile_sandbox import Compile, compile_error, make_compile
from inference_worker.runtime.constraints.grammar_schemas import relaxed_object, without_annotations
from inference_worker.runtime.constraints.tool_grammars import MAX_GRAMMAR_CHARACTERS, compact_tag

MCP_TOOLS = sorted((Path(__file__).parents[2] / "openai/mcp_tools").glob("*.json"))
VOCABULARY = 49152


@pytest.fixture(scope="module")
def compile_constraint(smollm2: Path) -> Compile:
    return make_compile(str(smollm2), VOCABULARY, is_compact=True)


def tag_of(schemas: dict[str, dict[str, Any]]) -> str:
    """Return a structural tag of calls as vLLM makes it for the parser ``hermes``."""
    tags = [
        {
            "type": "tag",
            "begin": begin + f'{{"name": "{name}", "arguments": ',
            "content": {"type": "json_schema", "json_schema": schema},
            "end": "}" + end,
        }
        for name, schema in schemas.items()
        for begin, end in (("<tool_call>\n", "\n</tool_call>"), ("<tool_call>", "</tool_call>"))
    ]
    tag = {"type": "tags_with_separator", "tags": tags, "separator": "", "at_least_one": True}
    return compact_tag(json.dumps({"type": "structural_tag", "format": tag}))


def accepts(grammar: Any, text: str) -> bool:
    """Return whether a compiled grammar accepts a text as a whole."""
    import xgrammar

    matcher = xgrammar.GrammarMatcher(grammar, terminate_without_stop_token=True)
    return bool(matcher.accept_string(text) and matcher.is_completed())


@pytest.mark.case("clients.14")
@pytest.mark.parametrize("server", MCP_TOOLS, ids=lambda path: path.stem)
def test_the_tools_of_an_mcp_server_can_be_forced(
    compile_constraint: Compile, server: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    schemas = {tool["name"]: relaxed_object(tool["inputSchema"]) for tool in json.loads(server.read_bytes())}
    start = time.process_time()
    for name, schema in schemas.items():
        jsonschema.Draft202012Validator.check_schema(schema)
        assert compile_error(compile_constraint, "structural_tag", tag_of({name: schema})) == "", name
        assert compile_error(compile_constraint, "json", json.dumps(schema)) == "", name
    assert compile_error(compile_constraint, "structural_tag", tag_of(schemas)) == ""
    assert time.process_time() - start < 60
    assert "Warning" not in capfd.readouterr().err
    assert len(json.dumps(schemas)) < MAX_GRAMMAR_CHARACTERS


@pytest.mark.case("clients.14")
def test_arguments_that_match_the_declared_parameters_match_the_grammar(
    compile_constraint: Compile,
) -> None:
    edit = next(
        tool
        for tool in json.loads((MCP_TOOLS[0].parent / "filesystem.json").read_bytes())
        if tool["name"] == "edit_file"
    )
    schema = relaxed_object(edit["inputSchema"])
    grammar = compile_constraint("structural_tag", tag_of({"edit_file": schema}))
    call = '<tool_call>\n{{"name": "edit_file", "arguments": {}}}\n</tool_call>'
    assert accepts(grammar, call.format('{"path": "a", "edits": [{"oldText": "b", "newText": "c"}]}'))
    assert accepts(grammar, call.format('{"path":"a","edits":[]}'))
    for wrong in ('"a"', "[]", "{}", '{"path": "a", "edits": [], "other": 1}', '{"path":  "a","edits":[]}'):
        assert not accepts(grammar, call.format(wrong)), wrong


CYCLE = {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}
HARD: list[tuple[Any, str]] = [
    (None, "{}"),
    ({}, "{}"),
    ({"type": "string"}, '{"a":1}'),
    ({"enum": [1, 2]}, "{}"),
    ({"anyOf": [{"type": "string"}]}, "{}"),
    ({"$ref": "#"}, "{}"),
    ({"$ref": "https://example.org/schema"}, "{}"),
    ({**CYCLE, "properties": {"x": {"$ref": "#/$defs/a"}}}, '{"x":[1]}'),
    ({"properties": {"a": {"anyOf": [{"$ref": "#/properties/a"}]}}}, '{"a":true}'),
    ({"properties": {"a": {"maxLength": 2000, "type": "string"}}}, '{"a":"' + "x" * 1500 + '"}'),
    ({"properties": {"a": {"type": "string", "pattern": r"^\p{L}+$"}}}, '{"a":"1"}'),
    ({"properties": {"a": {"type": "string", "pattern": "(a{99}){99}"}}}, '{"a":"b"}'),
    ({"properties": {"a": {"type": "string", "pattern": "a("}}}, '{"a":"b"}'),
    ({"properties": {"a": {"type": "integer", "multipleOf": 3}}}, '{"a":4}'),
    ({"properties": {"a": {"type": "array", "uniqueItems": True, "minItems": 5000}}}, '{"a":[1, 1]}'),
    ({"properties": {"a": {"type": "integer", "minimum": 5, "maximum": 1}}}, '{"a":3}'),
    ({"properties": {"a": {"enum": list(range(5000)), "type": "integer"}}}, '{"a":9000}'),
    ({"properties": {"a": {"enum": []}, "b": False, "c": True}}, '{"c":null}'),
    ({"properties": {"a": {"allOf": [{"type": "string"}, {"minLength": 3}]}}}, '{"a":1}'),
    ({"properties": {"a": {"type": ["string", "null"]}}, "required": ["a", "b"]}, '{"a":null}'),
    ({"properties": {"a": {"type": "wrong", "items": 5, "minLength": "x"}}, "required": 7}, '{"a":{}}'),
    ({"patternProperties": {"^x": {}}, "properties": {"a": {}}}, '{"xy":1}'),
    ({"properties": {"$ref": {"type": "string"}, "enum": {"type": "integer"}}}, '{"$ref":"a","enum":1}'),
    ({"properties": {"n": {"$ref": "#"}, "v": {"type": "integer"}}}, '{"n":{"v":1}}'),
]


@pytest.mark.case("clients.14", "clients.21")
@pytest.mark.parametrize(("schema", "arguments"), HARD, ids=range(len(HARD)))
def test_any_parameters_compile_to_a_grammar_of_objects(
    compile_constraint: Compile, schema: Any, arguments: str
) -> None:
    relaxed_schema = relaxed_object(schema)
    grammar = compile_constraint("json", json.dumps(relaxed_schema))
    assert accepts(grammar, arguments), relaxed_schema
    for other in ('"text"', "[]", "1", "null"):
        assert not accepts(grammar, other), (relaxed_schema, other)
    assert compile_error(compile_constraint, "structural_tag", tag_of({"f": relaxed_schema})) == ""


@pytest.mark.case("clients.20")
def test_compact_json_has_no_optional_white_space(compile_constraint: Compile) -> None:
    schema = {
        "type": "object",
        "properties": {"ok": {"type": "boolean"}, "n": {"enum": [1, 2, 3]}},
        "required": ["ok", "n"],
    }
    grammar = compile_constraint("json", json.dumps(schema))
    assert accepts(grammar, '{"ok":true,"n":1}')
    assert not accepts(grammar, '{"ok": true,"n":1}')
    assert not accepts(grammar, '{"ok":true, "n":1}')


@pytest.mark.case("clients.15")
def test_annotations_are_removed_and_names_and_values_stay() -> None:
    data = {"type": "array", "contains": 1, "default": 2}
    schema = {
        "title": "t",
        "x-order": [data],
        "properties": {"default": {"default": data, "enum": [data]}, "x-a": {"const": data, "examples": [1]}},
    }
    assert without_annotations(schema) == {
        "properties": {"default": {"enum": [data]}, "x-a": {"const": data}}
    }
