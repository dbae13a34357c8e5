"""Lines of chat format with one fault each, and where the check must find it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

_Case = tuple[bytes, str, str]  # line, path, code
CALLED: dict[str, Any] = {
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Weather in Rome?"}]},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}"}},
                {"id": "c2", "type": "function", "function": {"name": "time", "arguments": '{"a": 1}'}},
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "sunny"},
        {"role": "tool", "tool_call_id": "c2", "content": "noon"},
        {"role": "assistant", "content": "Sunny.", "weight": 1},
        {"role": "user", "content": "Thanks.", "name": "ann"},
        {"role": "assistant", "content": "Welcome.", "weight": 0, "reasoning_content": "hm"},
    ],
    "tools": [
        {"type": "function", "function": {"name": "weather", "description": "d", "parameters": {}}},
        {"type": "function", "function": {"name": "time", "strict": True}},
    ],
    "parallel_tool_calls": True,
}
_ABSENT = object()
_NO_OBJECTS: tuple[object, ...] = (3, "x", None, ["x"])
_WRONG: tuple[object, ...] = (3, True, {"a": 1}, ["x"])


def _change(*changes: tuple[str, object]) -> bytes:
    """Return the example with fields replaced or removed, each by its path with dots."""
    example = deepcopy(CALLED)
    for path, value in changes:
        *parents, last = [int(key) if key.isdigit() else key for key in path.split(".")]
        place: Any = example
        for key in parents:
            place = place[key]
        if value is _ABSENT:
            del place[last]
        else:
            place[last] = value
    return json.dumps(example).encode()


def _path(dotted_path: str) -> str:
    return "".join(f"[{key}]" if key.isdigit() else f".{key}" for key in dotted_path.split(".")).lstrip(".")


def _one(path: str, value: object, code: str, at: str | None = None) -> _Case:
    return _change((path, value)), _path(path if at is None else at), code


def _wrong_types() -> Iterator[_Case]:
    fields: dict[str, tuple[type, ...]] = {
        "messages": (list,),
        "tools": (list,),
        "parallel_tool_calls": (bool,),
        "tools.0.function": (dict,),
        "tools.0.function.description": (str,),
        "tools.0.function.parameters": (dict,),
        "tools.1.function.strict": (bool,),
        "tools.1.function.name": (str,),
        "messages.6.name": (str,),
        "messages.7.reasoning_content": (str,),
        "messages.2.tool_calls.0.id": (str,),
        "messages.2.tool_calls.1.function": (dict,),
        "messages.2.tool_calls.1.function.name": (str,),
        "messages.2.tool_calls.1.function.arguments": (str,),
        "messages.3.tool_call_id": (str,),
        "messages.1.content.0.text": (str,),
    }
    for path, types in fields.items():
        for value in _WRONG:
            if not isinstance(value, types):
                yield _one(path, value, "wrong_type")
    for path in ("messages.0.role", "messages.3.role", "messages.2.tool_calls.0.type", "tools.1.type"):
        for value in (*_WRONG, None):
            yield _one(path, value, "wrong_type")
    for path in ("messages.4", "messages.1.content.0", "messages.2.tool_calls.1", "tools.0"):
        for value in _NO_OBJECTS:
            yield _one(path, value, "wrong_type")
    for index in (0, 3, 5, 6):
        for value in _WRONG[:3]:
            yield _one(f"messages.{index}.content", value, "wrong_type")


def _missing() -> Iterator[_Case]:
    for path in (
        "messages.0.role",
        "messages.6.content",
        "messages.5.content",
        "messages.4.tool_call_id",
        "messages.1.content.0.type",
        "messages.1.content.0.text",
        "messages.2.tool_calls.0.id",
        "messages.2.tool_calls.0.type",
        "messages.2.tool_calls.0.function",
        "messages.2.tool_calls.1.function.name",
        "messages.2.tool_calls.1.function.arguments",
        "tools.0.type",
        "tools.0.function",
        "tools.0.function.name",
    ):
        yield _one(path, _ABSENT, "missing")


def _values() -> Iterator[_Case]:
    for role in ("bot", "human", "User", "", "function", "assistent"):
        yield _one("messages.6.role", role, "unknown_value")
    for weight in (2, -1, 0.5, "1", True, [1]):
        yield _one("messages.5.weight", weight, "unknown_value")
    for kind in ("image_url", "input_audio", "file", "refusal"):
        yield _one("messages.1.content.0.type", kind, "unknown_value")
    yield _one("tools.1.type", "web_search", "unknown_value")
    yield _one("messages.2.tool_calls.0.type", "custom", "unknown_value")


def _empty() -> Iterator[_Case]:
    for path in ("messages", "messages.1.content", "messages.2.tool_calls"):
        yield _one(path, [], "empty")
    for path in ("messages.6.content", "messages.5.content"):
        for text in ("", "  \n"):
            yield _one(path, text, "empty")
    for path in ("messages.6.name", "messages.3.tool_call_id", "messages.2.tool_calls.0.id"):
        yield _one(path, "", "empty")


def _names_and_arguments() -> Iterator[_Case]:
    for name in ("two words", "x" * 65, "wetter°"):
        yield _one("tools.0.function.name", name, "invalid_name")
        yield _one("messages.2.tool_calls.0.function.name", name, "invalid_name")
    for text in ("{", "", "{'a': 1}", "nonsense"):
        yield _one("messages.2.tool_calls.1.function.arguments", text, "invalid_json")
    for text in ("[1]", "3", '"x"', "null"):
        yield _one("messages.2.tool_calls.1.function.arguments", text, "not_an_object")
    yield _one("messages.2.tool_calls.1.function.arguments", '{"a": "\\ud800"}', "lone_surrogate")
    yield _one("messages.2.tool_calls.1.function.arguments", '{"a": NaN}', "not_finite")
    yield _one("messages", [{"role": "user", "content": "x"}] * 1001, "too_many")


def _unknown_fields() -> Iterator[_Case]:
    for index in (0, 1, 2, 3, 5):
        for name in ("contents", "function_call", "refusal", "audio", "wieght"):
            yield _one(f"messages.{index}.{name}", "x", "unknown_field")
    for path in ("messages.1.content.0", "messages.2.tool_calls.0", "tools.0", "tools.1.function"):
        yield _one(f"{path}.extra", 1, "unknown_field")
    yield _one("messages.2.tool_calls.0.function.args", 1, "unknown_field")
    for name in ("functions", "function_call"):
        yield _one(name, ["x"], "unknown_field")
    for name, misspelt in (("tools", "tool"), ("parallel_tool_calls", "parallel_tool_call")):
        yield _change((name, _ABSENT), (misspelt, ["x"])), misspelt, "unknown_field"


def _order() -> Iterator[_Case]:
    yield _one("messages.2.tool_calls.1.id", "c1", "repeated")
    yield _one("messages.3.tool_call_id", "c9", "unknown_call")
    yield _one("tools.1.function.name", "weather", "repeated")
    yield _one("messages.2.tool_calls.0.function.name", "wether", "undeclared_tool")
    yield _one("messages.0.weight", 1, "misplaced")
    yield _one("messages.1.weight", 0, "misplaced")
    yield _one("messages.6.tool_calls", [{}], "misplaced")
    yield _one("messages.6.tool_call_id", "c1", "misplaced")
    yield _one("messages.1.reasoning_content", "x", "misplaced")
    for end in (1, 2):
        change = json.loads(_change())
        change["messages"] = change["messages"][:end]
        yield json.dumps(change).encode(), f"messages[{end - 1}]", "last_not_assistant"
    yield _change(("messages.5.weight", 0), ("messages.2.weight", 0)), "messages", "nothing_trained"


def _json() -> Iterator[_Case]:
    good = _change()
    yield good[:-1], "", "invalid_json"
    yield good[:40], "", "invalid_json"
    yield good[1:], "", "several_values"
    yield good.replace(b": ", b" ", 1), "", "invalid_json"
    yield good.replace(b'"Sunny."', b'"Sun\tny."'), "", "invalid_json"
    yield good.replace(b'"Sunny."', b'"Sun\x00ny."'), "", "invalid_json"
    yield good.replace(b'"Sunny."', b"'Sunny.'"), "", "invalid_json"
    yield good + good, "", "several_values"
    yield good + b" x", "", "several_values"
    for constant in (b"NaN", b"Infinity", b"-Infinity"):
        yield good.replace(b'"weight": 1', b'"weight": ' + constant), "", "not_finite"
    for number in (b"1" * 5000, b"18446744073709551616", b"-9223372036854775809", b"1e999"):
        yield good.replace(b'"weight": 1', b'"weight": ' + number), "", "huge_number"
    for bad in (b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xf8\x88\x80\x80\x80"):
        yield good.replace(b"Sunny.", b"Sunny" + bad), "", "not_utf8"
    yield good.replace(b"Sunny.", b"Sunny\\ud83d"), "", "lone_surrogate"
    yield good.replace(b"Sunny.", b"Sunny\\uDE00"), "", "lone_surrogate"
    yield good.replace(b'"weight": 1', b'"weight": 1, "weight": 1'), "", "duplicate_key"
    yield good.replace(b'{"messages"', b'{"messages": [], "messages"'), "", "duplicate_key"
    for depth in (150, 5000, 100_000):
        yield b'{"messages": ' + b"[" * depth + b"]" * depth + b"}", "", "too_deep"
    for other in (b"3", b'"text"', b"null", b"true", b"[1]"):
        yield other, "", "not_an_object"
    for example in ({"prompt": "a", "completion": "b"}, {"instruction": "a", "output": "b"}):
        yield json.dumps(example).encode(), "", "other_format"


def faulty_lines() -> list[_Case]:
    """Return the lines with the path and the code of their fault; an empty code stands for any."""
    sources = (_wrong_types, _missing, _values, _empty, _names_and_arguments, _unknown_fields, _order, _json)
    return [case for source in sources for case in source()]
