"""Upper bound of the tokens of a request's prompts; the sizes of chat templates are those of workers.

A token has at least one byte of the text that the tokenizer reads. That text is in the JSON that the engine
receives, but can be longer there: templates render JSON in their own form and may repeat their variables, and
tokenizers that normalize texts to a form of Unicode replace some characters by longer ones.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

PROMPT_FIELDS = ("messages", "tools", "chat_template_kwargs", "prompt", "input")
# Spaces that a template adds at each of these: in the worst case indentation, up to 240 spaces deep.
_INDENTED, _INDENTATION_TOKENS = b",[]{}", 4
_COLON = b":"
# Templates write out numbers such as 1e15, which then have up to 16 characters more.
_SHORT_NUMBER, _DIGIT_TOKENS = re.compile(rb"0\.0|[0-9][eE][+-]?[0-9]"), 16
# vLLM adds these to a tool without them.
_ABSENT_FIELDS = '"description": null, "parameters": null, '
# Ranges that include every code point whose form C or KC has more bytes in UTF-8.
_NORMALIZED_RANGES = (
    *((0xA8, 0xBE), (0x132, 0x149), (0x1C4, 0x1F3), (0x2D8, 0x2DD), (0x344, 0x385), (0x3D3, 0x3D4)),
    *((0x587, 0x587), (0x675, 0x678), (0x958, 0x95F), (0x9DC, 0x9DF), (0xA33, 0xA5E), (0xB5C, 0xB5D)),
    *((0xE33, 0xE33), (0xEB3, 0xEDD), (0xF43, 0xFB9), (0x1E9A, 0x1E9B), (0x1FBD, 0x1FFE)),
    *((0x2002, 0x205F), (0x20A8, 0x20A8), (0x2100, 0x2189), (0x222C, 0x2230), (0x2460, 0x24FF)),
    *((0x2A0C, 0x2ADC), (0x309B, 0x30FF), (0x3200, 0x33FF), (0xFA6C, 0xFA6C), (0xFACF, 0xFAD7)),
    *((0xFB00, 0xFDFC), (0xFE49, 0xFE7F), (0xFEF5, 0xFEFC), (0xFFE3, 0xFFE3)),
    *((0x1D15E, 0x1D1C0), (0x1F100, 0x1F16C), (0x1F190, 0x1F248)),
)


class TemplateSize(NamedTuple):
    """Size of a chat template in tokens.

    ``tokens``: those of the shortest conversation. ``option_tokens``: the most that tools and other options
    add, without the tools themselves.
    """

    tokens: int
    option_tokens: int


# Allowances for templates whose size no worker reports, such as those of remote engines.
UNKNOWN_TEMPLATE = TemplateSize(256, 1024)


def _normalization_growth(character: str) -> int:
    texts = [unicodedata.normalize("NFC", character), unicodedata.normalize("NFKC", character)]
    return max(len(text.encode()) for text in texts) - len(character.encode())


_GROWTH = {
    character: growth
    for first, last in _NORMALIZED_RANGES
    for character in map(chr, range(first, last + 1))
    if (growth := _normalization_growth(character)) > 0
}
_GROWING = frozenset(_GROWTH)
# Python tests characters of the basic plane in a bitmap, and others one range after the other.
_PLANE = "\uffff"
_RANGES = "".join(f"{chr(first)}-{chr(last)}" for first, last in _NORMALIZED_RANGES if chr(first) > _PLANE)
# Possessive, which takes a fifth of the time of a search or of a set.
_UNCHANGED = re.compile(f"[^{''.join(character for character in _GROWTH if character < _PLANE)}{_RANGES}]*+")


def most_prompt_tokens(fields: Mapping[str, Any]) -> int:
    """Return an upper bound of the tokens of all prompts of texts, without those of the chat template.

    ``fields``: those that the engine receives.
    """
    texts = _texts([fields.get(name) for name in PROMPT_FIELDS])
    growth = sum(map(_text_growth, texts)) + sum(map(_json_growth, _rendered_json(fields)))
    growth += len(_ABSENT_FIELDS) * len(fields.get("tools") or ())
    return len(msgspec.json.encode(fields)) + growth + _repetition_growth(fields)


def _repetition_growth(fields: Mapping[str, Any]) -> int:
    """Return the bytes of the template's texts and numbers for each message: a template may repeat them."""
    values = (fields.get("chat_template_kwargs") or {}).values()
    texts = [str(value) for value in values if not isinstance(value, bool | None)]
    return sum(len(text.encode()) + _text_growth(text) for text in texts) * len(fields.get("messages", ()))


def _texts(values: list[Any]) -> Iterator[str]:
    while values:
        value = values.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict):
            values.extend((*value, *value.values()))
        elif isinstance(value, list):
            values.extend(value)


def _text_growth(text: str) -> int:
    if text.isascii() or _UNCHANGED.fullmatch(text):
        return 0
    return sum(text.count(character) * _GROWTH[character] for character in _GROWING.intersection(text))


def _rendered_json(fields: Mapping[str, Any]) -> Iterator[str]:
    """Yield the JSON that a template renders in its own form: tools, and the arguments of earlier calls."""
    if tools := fields.get("tools"):
        yield msgspec.json.encode(tools).decode()
    for message in fields.get("messages", ()):
        for call in message.get("tool_calls") or ():
            yield call["function"]["arguments"]


def _json_growth(text: str) -> int:
    data = text.encode()
    indented_count = len(data) - len(data.translate(None, _INDENTED))
    number_count = len(_SHORT_NUMBER.findall(data))
    # In Python's notation, quotes and characters that can't be printed are escaped.
    escape_bytes = len(repr(text).encode()) - len(data) - len("''")
    return (
        indented_count * _INDENTATION_TOKENS
        + data.count(_COLON)
        + number_count * _DIGIT_TOKENS
        + escape_bytes
    )
