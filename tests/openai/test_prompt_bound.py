"""The bound of a prompt: no template and no tokenizer makes more tokens of it."""

from __future__ import annotations

import json
import sys
import unicodedata
from typing import Any

import msgspec
import pytest
from tokenizers import Tokenizer, models, normalizers

from api.openai.responses.requests import validate_response_body
from api.openai.validation.prompt_bound import _GROWTH
from api.openai.validation.requests import (
    validate_chat_body,
    validate_completion_body,
    validate_embedding_body,
)

pytestmark = pytest.mark.criterion("6.1")

BYTES = {f"<0x{byte:02X}>": byte for byte in range(256)}
SHORT_NAME, LONG_NAMESPACE = "f", "1234567890" * 6


def user(text: str) -> dict[str, object]:
    return {"role": "user", "content": text}


def growth_of(fields: dict[str, Any]) -> int:
    """Return how far the bound of a chat exceeds the bytes of the engine's JSON."""
    request = validate_chat_body({"model": "m", **fields})
    return request.most_prompt_tokens - len(msgspec.json.encode(request.fields))


def with_arguments(arguments: str) -> dict[str, Any]:
    """Return the fields of a chat with an earlier call."""
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": arguments}}
    output = {"role": "tool", "tool_call_id": "a", "content": "done"}
    return {"messages": [user("hello"), {"role": "assistant", "tool_calls": [call]}, output]}


def with_tool(**parameters: object) -> dict[str, Any]:
    """Return the fields of a chat with a tool."""
    tool = {"type": "function", "function": {"name": "f", "description": "", "parameters": parameters}}
    return {"messages": [user("hello")], "tools": [tool]}


ABSENT_FIELDS = len('"description": null, "parameters": null, ')


def test_every_character_that_normalization_makes_longer_is_known() -> None:
    code_points = (number for number in range(sys.maxunicode + 1) if not 0xD800 <= number < 0xE000)
    growth = {}
    for character in map(chr, code_points):
        forms = [unicodedata.normalize("NFC", character), unicodedata.normalize("NFKC", character)]
        growth[character] = max(len(form.encode()) for form in forms) - len(character.encode())
    assert {character: more for character, more in growth.items() if more > 0} == _GROWTH
    assert max(_GROWTH.values()) == 30


@pytest.mark.parametrize("form", [normalizers.NFC(), normalizers.NFKC()], ids=["NFC", "NFKC"])
@pytest.mark.parametrize("text", ["\U0001d160\u0958", "\ufdfa", "½", "\u3316", "a\u0344", "²ﬁ…", "﷽"])
def test_no_text_has_more_tokens_than_the_bound(form: Any, text: str) -> None:
    tokenizer = Tokenizer(models.BPE(vocab=BYTES, merges=[], byte_fallback=True))
    tokenizer.normalizer = form
    text *= 50
    count = len(tokenizer.encode(text).ids)
    assert count >= len(unicodedata.normalize("NFC", text)), "a token for each byte"
    for request in (
        validate_chat_body({"model": "m", "messages": [user(text), user("hello")]}),
        validate_completion_body({"model": "m", "prompt": [text, "hello"]}),
        validate_embedding_body({"model": "m", "input": text}),
    ):
        assert count <= request.most_prompt_tokens


@pytest.mark.parametrize("text", ["", "hello", "你好\n世界 é한", "नमस्ते", "\u0f44", "« 20 °C »"])
def test_the_bound_of_other_texts_is_the_size_of_their_json(text: str) -> None:
    assert growth_of({"messages": [user(text)]}) == 0


def test_the_bound_of_token_ids_is_their_number() -> None:
    assert validate_completion_body({"model": "m", "prompt": [1, 2]}).most_prompt_tokens == 2
    assert validate_embedding_body({"model": "m", "input": [[1, 2], [3]]}).most_prompt_tokens == 3


def test_names_that_the_platform_makes_longer_count_in_full() -> None:
    """Functions of equal names are seen with their namespace, which the request has only once."""
    members = [{"type": "function", "name": f"{SHORT_NAME}{number}"} for number in range(50)]
    tools = [
        {"type": "namespace", "name": f"{LONG_NAMESPACE}{number}", "description": "d", "tools": members}
        for number in range(2)
    ]
    body = {"model": "m", "input": "hello", "tools": tools}
    request = validate_response_body(body).chat()
    rendered_tools = json.dumps(request.fields["tools"])
    assert rendered_tools.count(LONG_NAMESPACE[:40]) == 100
    assert request.most_prompt_tokens >= len(rendered_tools) > len(json.dumps(body))


def test_fields_that_an_engine_adds_to_tools_count() -> None:
    bare_tool = {"type": "function", "function": {"name": "f"}}
    growth = growth_of({"messages": [user("hello")], "tools": [bare_tool]})
    assert growth == 4 * len("[{,{}}]") + len(":::") + ABSENT_FIELDS


@pytest.mark.parametrize("depth", [1, 20, 60])
def test_json_that_a_template_indents_has_no_more_runs_of_spaces_than_the_growth(depth: int) -> None:
    schema: object = [0] * 100
    for _ in range(depth):
        schema = [schema]
    fields = with_tool(enum=schema)
    lines = json.dumps(fields["tools"], indent=4).splitlines()
    assert growth_of(fields) >= 4 * (len(lines) - 1), "a line end and up to 240 spaces have 4 tokens"


def test_the_arguments_of_earlier_calls_grow_as_the_template_renders_them() -> None:
    assert growth_of(with_arguments('{"numbers":[0,0,0]}')) == 4 * len("{[,,]}") + len(":")


@pytest.mark.parametrize("number", ["1e15", "-9E15", "1e+15", "1e1", "1e-4", "1e16", "1E-7"])
def test_numbers_that_a_template_writes_out_have_no_more_characters_than_the_growth(number: str) -> None:
    numbers = f"[{','.join([number] * 50)}]"
    text = json.dumps(json.loads(numbers))
    for fields in (with_tool(enum=json.loads(numbers)), with_arguments(f'{{"a":{numbers}}}')):
        assert len(text) <= len(numbers) + growth_of(fields)


@pytest.mark.parametrize("text", ["\xa0", "\u200b", "\U000e0001", "\x7f", 'it\'s "so"', "\\"])
def test_texts_that_a_template_writes_in_pythons_notation_have_no_more_bytes_than_the_growth(
    text: str,
) -> None:
    value = {"a": text * 50}
    data = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    for fields in (with_tool(const=text * 50), with_arguments(data)):
        assert len(repr(value).encode()) <= len(data.encode()) + growth_of(fields)


def test_a_long_number_of_the_template_may_be_repeated_in_each_message() -> None:
    fields = {"messages": [user("hello")] * 3, "chat_template_kwargs": {"count": 10**99}}
    assert growth_of(fields) == 3 * 100


def test_a_variable_of_the_template_may_be_repeated_in_each_message() -> None:
    variables = {"date_string": "26 Jul", "enable_thinking": False}
    fields = {"messages": [user("hello"), user("hello")], "chat_template_kwargs": variables}
    assert growth_of(fields) == 2 * len("26 Jul")
    variables["date_string"] = "½"
    assert growth_of(fields) == 3 + 2 * (2 + 3), "each time in its longest form"
