"""Tokens that a prompt can have beyond the bytes of its request, for the bound of its cost.

A token has at least one byte of the text that the tokenizer reads. That text can be longer than the
request's: templates render JSON with spaces and line ends and may repeat their variables, and tokenizers that
normalize texts to the form C, such as Qwen's, decompose some characters.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

PROMPT_FIELDS = ("messages", "tools", "chat_template_kwargs", "prompt", "input")
# Spaces that a template adds at each of these: in the worst case indentation, up to 240 spaces deep.
_INDENTED, _INDENTATION_TOKENS = b",[]{}", 4
_COLON = b":"
# Templates write out numbers such as 1e15, which then have up to 16 characters more.
_SHORT_NUMBER, _DIGIT_TOKENS = re.compile(rb"0\.0|[0-9][eE][+-]?[0-9]"), 16
# First and last code points of the characters that are longer in UTF-8 once they are decomposed. Unicode
# excludes them from composition for ever.
_DECOMPOSED_RANGES = (
    *((0x344, 0x344), (0x958, 0x95F), (0x9DC, 0x9DF), (0xA33, 0xA36), (0xA59, 0xA5E), (0xB5C, 0xB5D)),
    *((0xF43, 0xFB9), (0x2ADC, 0x2ADC), (0xFA6C, 0xFA6C), (0xFACF, 0xFAD7), (0xFB1D, 0xFB4E)),
    *((0x1D15E, 0x1D164), (0x1D1BB, 0x1D1C0)),
)


def _decomposition_growth(character: str) -> int:
    return len(unicodedata.normalize("NFC", character).encode()) - len(character.encode())


_GROWTH = {
    character: growth
    for first, last in _DECOMPOSED_RANGES
    for character in map(chr, range(first, last + 1))
    if (growth := _decomposition_growth(character)) > 0
}
_GROWING = frozenset(_GROWTH)
# Possessive, which takes a fifth of the time of a search or of a set.
_UNCHANGED = re.compile(f"[^{''.join(f'{chr(first)}-{chr(last)}' for first, last in _DECOMPOSED_RANGES)}]*+")


def prompt_growth(fields: Mapping[str, Any]) -> int:
    """Return how many more tokens the prompt can have than its request has bytes."""
    texts = _texts([fields.get(name) for name in PROMPT_FIELDS])
    growth = sum(map(_text_growth, texts)) + sum(map(_json_growth, _rendered_json(fields)))
    return growth + _repetition_growth(fields)


def _repetition_growth(fields: Mapping[str, Any]) -> int:
    """Return the bytes of the template's texts and numbers for each message: a template may repeat them."""
    variables = (fields.get("chat_template_kwargs") or {}).values()
    size = sum(len(str(value).encode()) for value in variables if not isinstance(value, bool | None))
    return size * len(fields.get("messages", ()))


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


def _rendered_json(fields: Mapping[str, Any]) -> Iterator[bytes]:
    """Yield the JSON that a template renders in its own form: tools, and the arguments of earlier calls."""
    if tools := fields.get("tools"):
        yield msgspec.json.encode(tools)
    for message in fields.get("messages", ()):
        for call in message.get("tool_calls") or ():
            yield call["function"]["arguments"].encode()


def _json_growth(text: bytes) -> int:
    indented_count = len(text) - len(text.translate(None, _INDENTED))
    number_count = len(_SHORT_NUMBER.findall(text))
    return indented_count * _INDENTATION_TOKENS + text.count(_COLON) + number_count * _DIGIT_TOKENS
