"""Constrained responses match their format; constraints that can't be compiled are rejected by name."""

from __future__ import annotations

import json
import re
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jsonschema
import pytest

from tests.effects.endpoints import PLAIN, Endpoints, Json

SCHEMA: Json = {
    "type": "object",
    "properties": {
        "colour": {"enum": ["red", "green", "blue"]},
        "count": {"type": "integer", "minimum": 1, "maximum": 9},
        "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "minItems": 2, "maxItems": 2},
        "code": {"type": "string", "pattern": "^[A-Z]{3}-[0-9]{2}$"},
        "open": {"type": ["boolean", "null"]},
    },
    "required": ["colour", "count", "tags", "code", "open"],
    "additionalProperties": False,
}
DATE = r"(19|20)\d{2}-(0[1-9]|1[0-2])-[0-3]\d"


def _schema(schema: Json, **fields: Any) -> Json:
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, **fields}}


def _text(ask: Endpoints, **fields: Any) -> str:
    """Return the text of a complete response, after comparing stream and whole response."""
    choice = ask.chat(**fields)["choices"][0]
    assert choice["finish_reason"] == "stop"
    assert ask.stream_chat(**fields).texts[0] == choice["message"]["content"]
    return str(choice["message"]["content"])


@pytest.mark.criterion("1.6")
@pytest.mark.honours("chat", "response_format", "structured_outputs")
@pytest.mark.honours("completions", "response_format", "structured_outputs")
def test_a_response_with_a_schema_is_valid(ask: Endpoints, no_space: Json) -> None:
    for bound in (
        {"response_format": _schema(SCHEMA, strict=True)},
        {"response_format": _schema(SCHEMA)},
        {"structured_outputs": {"json": SCHEMA}},
        {"structured_outputs": {"json": json.dumps(SCHEMA)}},
    ):
        jsonschema.validate(json.loads(_text(ask, **bound, **no_space)), SCHEMA)
        choice = ask.complete(**bound, **no_space)["choices"][0]
        assert choice["finish_reason"] == "stop"
        jsonschema.validate(json.loads(choice["text"]), SCHEMA)


@pytest.mark.criterion("1.6")
@pytest.mark.honours("chat", "response_format")
@pytest.mark.honours("completions", "response_format")
def test_a_json_response_is_an_object(ask: Endpoints, tokenizer: Any) -> None:
    likely = {"logit_bias": {str(tokenizer.convert_tokens_to_ids("{}")): 100}}
    for bound in (
        {"response_format": {"type": "json_object"}},
        {"structured_outputs": {"json_object": True}},
    ):
        assert isinstance(json.loads(_text(ask, **bound, **likely)), dict)
        assert isinstance(json.loads(ask.text(**bound, **likely)), dict)
    with pytest.raises(json.JSONDecodeError):
        json.loads(ask.text(response_format={"type": "text"}, **likely))


@pytest.mark.criterion("1.6")
@pytest.mark.honours("chat", "structured_outputs")
@pytest.mark.honours("completions", "structured_outputs")
def test_a_response_matches_its_pattern_or_is_one_of_the_choices(ask: Endpoints) -> None:
    assert re.fullmatch(DATE, _text(ask, structured_outputs={"regex": DATE}))
    assert re.fullmatch(DATE, ask.text(structured_outputs={"regex": DATE}))
    choices = ["yes, of course", "no", "ja – natürlich"]
    hot = {"structured_outputs": {"choice": choices}, "temperature": 1.5}
    assert _text(ask, structured_outputs={"choice": choices}) in choices
    texts = {ask.text(**hot, seed=seed) for seed in range(8)}
    assert texts <= set(choices)
    assert len(texts) > 1


def _inner(pattern: str) -> Json:
    return {"type": "object", "properties": {"a": {"type": "string", "pattern": pattern}}, "required": ["a"]}


REFUSED: list[tuple[Json, str, str]] = [
    ({"response_format": _schema(_inner("^.{0,200}$"))}, "response_format.json_schema.schema", "compile"),
    ({"response_format": _schema(_inner("^(.{1,200})+$"))}, "response_format.json_schema.schema", "compile"),
    ({"response_format": _schema(_inner("a("))}, "response_format.json_schema.schema", "parenthesis"),
    ({"structured_outputs": {"json": _inner("^.{0,200}$")}}, "structured_outputs.json", "compile"),
    ({"structured_outputs": {"regex": "a("}}, "structured_outputs.regex", "parenthesis"),
    (
        {"response_format": _schema({"type": "integer", "multipleOf": 3})},
        "response_format.json_schema.schema",
        "multipleOf",
    ),
    (
        {
            "tools": [
                {
                    "type": "function",
                    "function": {"name": "f", "strict": True, "parameters": _inner("^.{0,200}$")},
                }
            ],
            "tool_choice": "required",
        },
        "tools",
        "compile",
    ),
]


@pytest.mark.case("serving.25")
@pytest.mark.criterion("1.7")
@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(("bound", "param", "words"), REFUSED)
def test_a_constraint_that_does_not_compile_is_rejected_by_its_parameter(
    ask: Endpoints, bound: Json, param: str, words: str, streamed: bool
) -> None:
    """The status is 400 for streams too."""
    error = ask.refusal("chat/completions", **PLAIN, **bound, stream=streamed)
    assert (error["code"], error["param"]) == ("invalid_value", param)
    assert words in error["message"]
    assert "\n" not in error["message"]
    assert len(error["message"]) < 300


def test_a_constraint_that_takes_too_long_is_rejected_and_delays_no_other_request(ask: Endpoints) -> None:
    slow = {**PLAIN, "response_format": _schema(_inner("^(.{1,10}){1,10}$"))}
    with ThreadPoolExecutor() as threads:
        slow_refusal = threads.submit(lambda: ask.refusal("chat/completions", **slow))
        time.sleep(0.3)
        assert _text(ask, structured_outputs={"regex": "quick [a-f]{3}"}).startswith("quick ")
        assert not slow_refusal.done()
        error = slow_refusal.result(60)
    assert "too long to compile" in error["message"]
    assert error["param"] == "response_format.json_schema.schema"
    began = time.monotonic()
    assert ask.refusal("chat/completions", **slow) == error
    assert time.monotonic() - began < 1
