"""Structured output of the bundled model, which writes white space without end where a grammar allows it."""

from __future__ import annotations

import json
from typing import Any, Literal

import openai
import pytest
from pydantic import BaseModel

MODEL = "smollm2-135m-instruct"
HELLO: Any = [{"role": "user", "content": "Say hello."}]
WEATHER: dict[str, Any] = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "enum": ["Paris", "Rome"]},
        "note": {"type": "string", "maxLength": 2000},
        "days": {"type": "integer", "multipleOf": 2},
    },
    "required": ["city"],
}


class Answer(BaseModel):
    """The schema of the case."""

    ok: bool
    n: Literal[1, 2, 3]


@pytest.mark.case("clients.20")
def test_parsed_answers_end_by_themselves(client: openai.OpenAI) -> None:
    completion = client.chat.completions.parse(
        model=MODEL, messages=HELLO, temperature=0, max_tokens=200, response_format=Answer
    )
    assert completion.choices[0].finish_reason == "stop"
    assert isinstance(completion.choices[0].message.parsed, Answer)
    response = client.responses.parse(
        model=MODEL, input="Say hello.", temperature=0, max_output_tokens=200, text_format=Answer
    )
    assert response.status == "completed"
    assert isinstance(response.output_parsed, Answer)


@pytest.mark.case("clients.20")
@pytest.mark.parametrize(
    "fields",
    [
        {"response_format": {"type": "json_object"}},
        {"extra_body": {"structured_outputs": {"json": Answer.model_json_schema()}}},
        {"extra_body": {"structured_outputs": {"json_object": True}}},
    ],
)
def test_json_ends_by_itself(client: openai.OpenAI, fields: dict[str, Any]) -> None:
    completion: Any = client.chat.completions.create(
        model=MODEL, messages=HELLO, temperature=0, max_tokens=200, **fields
    )
    assert completion.choices[0].finish_reason == "stop"
    text = completion.choices[0].message.content
    assert isinstance(json.loads(text), dict)
    assert "\n" not in text


@pytest.mark.case("clients.14", "clients.20", "clients.21")
@pytest.mark.parametrize("strict", [None, False])
@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "weather"}}])
def test_a_forced_call_has_an_object_of_the_declared_parameters(
    client: openai.OpenAI, strict: bool | None, choice: Any
) -> None:
    function: Any = {"name": "weather", "parameters": WEATHER, "strict": strict}
    completion: Any = client.chat.completions.create(
        model=MODEL,
        messages=HELLO,
        temperature=0,
        max_tokens=300,
        tools=[{"type": "function", "function": function}],
        tool_choice=choice,
        parallel_tool_calls=False,
    )
    (call,) = completion.choices[0].message.tool_calls
    assert completion.choices[0].finish_reason in ("stop", "tool_calls")
    arguments = json.loads(call.function.arguments)
    assert arguments["city"] in ("Paris", "Rome")
    assert arguments.keys() <= WEATHER["properties"].keys()


@pytest.mark.case("clients.21")
@pytest.mark.parametrize("is_closed", [True, False])
def test_a_forced_call_of_responses_is_strict_where_the_schema_is_compatible(
    client: openai.OpenAI, is_closed: bool
) -> None:
    parameters: dict[str, Any] = {
        "type": "object",
        "properties": {"n": {"type": "integer"}},
        "required": ["n"],
    }
    tool: Any = {"type": "function", "name": "f", "parameters": parameters}
    if is_closed:
        parameters["additionalProperties"] = False
    response: Any = client.responses.create(
        model=MODEL,
        input="Say hello.",
        temperature=0,
        max_output_tokens=200,
        tools=[tool],
        tool_choice="required",
        parallel_tool_calls=False,
    )
    assert response.tools[0].strict is is_closed
    (call,) = [item for item in response.output if item.type == "function_call"]
    assert isinstance(json.loads(call.arguments)["n"], int)
