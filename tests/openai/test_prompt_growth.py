"""The growth of a prompt: texts that template and tokenizer make longer than the request."""

from __future__ import annotations

import json
import sys
import unicodedata

import pytest

from api.openai.validation.prompt_growth import _GROWTH, prompt_growth
from api.openai.validation.requests import (
    validate_chat_body,
    validate_completion_body,
    validate_embedding_body,
)


def user(text: str) -> dict[str, object]:
    return {"role": "user", "content": text}


def test_every_character_that_decomposition_makes_longer_is_known() -> None:
    code_points = (number for number in range(sys.maxunicode + 1) if not 0xD800 <= number < 0xE000)
    growth = {
        character: len(unicodedata.normalize("NFC", character).encode()) - len(character.encode())
        for character in map(chr, code_points)
    }
    assert {character: more for character, more in growth.items() if more > 0} == _GROWTH
    assert max(_GROWTH.values()) == 8


def test_a_text_grows_by_its_characters_that_are_decomposed() -> None:
    text, growth = "note \U0001d160, note \U0001d160, \u0958\u0959", 2 * 8 + 2 * 3
    assert len(unicodedata.normalize("NFC", text).encode()) == len(text.encode()) + growth
    requests = [
        validate_chat_body({"model": "m", "messages": [user(text), user("hello")]}),
        validate_completion_body({"model": "m", "prompt": [text, "hello"]}),
        validate_embedding_body({"model": "m", "input": text}),
    ]
    assert [request.prompt_growth for request in requests] == [growth] * 3


@pytest.mark.parametrize("text", ["", "hello", "你好\n世界 é한", "नमस्ते", "\u0f44"])
def test_other_texts_do_not_grow(text: str) -> None:
    assert validate_chat_body({"model": "m", "messages": [user(text)]}).prompt_growth == 0


def test_prompts_of_token_ids_do_not_grow() -> None:
    assert validate_completion_body({"model": "m", "prompt": [1, 2]}).prompt_growth == 0
    assert validate_embedding_body({"model": "m", "input": [[1, 2], [3]]}).prompt_growth == 0


@pytest.mark.parametrize("depth", [1, 20, 60])
def test_json_that_a_template_indents_has_no_more_runs_of_spaces_than_the_growth(depth: int) -> None:
    schema: object = [0] * 100
    for _ in range(depth):
        schema = [schema]
    tool = {"type": "function", "function": {"name": "f", "parameters": {"enum": schema}}}
    request = validate_chat_body({"model": "m", "messages": [user("hello")], "tools": [tool]})
    lines = json.dumps([tool], indent=4).splitlines()
    assert request.prompt_growth >= 4 * (len(lines) - 1), "a line end and up to 240 spaces have 4 tokens"


def test_the_arguments_of_earlier_calls_grow_as_the_template_renders_them() -> None:
    arguments = '{"numbers":[0,0,0]}'
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": arguments}}
    messages = [
        user("hello"),
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "a", "content": "done"},
    ]
    growth = prompt_growth(validate_chat_body({"model": "m", "messages": messages}).fields)
    assert growth == 4 * len("{[,,]}") + len(":")


@pytest.mark.parametrize("number", ["1e15", "-9E15", "1e+15", "1e1", "1e-4", "1e16", "1E-7"])
def test_numbers_that_a_template_writes_out_have_no_more_characters_than_the_growth(number: str) -> None:
    numbers = f"[{','.join([number] * 50)}]"
    tool = {"type": "function", "function": {"name": "f", "parameters": {"enum": json.loads(numbers)}}}
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": f'{{"a":{numbers}}}'}}
    messages = [
        user("hello"),
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "a", "content": "done"},
    ]
    text = json.dumps(json.loads(numbers))
    for fields in ({"messages": [user("hello")], "tools": [tool]}, {"messages": messages}):
        growth = validate_chat_body({"model": "m", **fields}).prompt_growth
        assert len(text) <= len(numbers) + growth


def test_a_long_number_of_the_template_may_be_repeated_in_each_message() -> None:
    body = {"model": "m", "messages": [user("hello")] * 3, "chat_template_kwargs": {"count": 10**99}}
    assert validate_chat_body(body).prompt_growth == 3 * 100


def test_a_variable_of_the_template_may_be_repeated_in_each_message() -> None:
    body = {"model": "m", "messages": [user("hello"), user("hello")]}
    variables = {"date_string": "26 Jul", "enable_thinking": False}
    assert validate_chat_body({**body, "chat_template_kwargs": variables}).prompt_growth == 2 * len("26 Jul")
