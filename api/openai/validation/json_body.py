"""Bytes to JSON, strictly: UTF-8, finite numbers, every key once, bounded depth and count."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any, NoReturn

from api.openai.errors.base import printable
from api.openai.errors.parameters import DuplicateKey, InvalidJson, JsonTooComplex, JsonTooDeep

MAX_DEPTH = 64
MAX_CONTAINERS = 100_000

# Everything up to the next bracket that is in no string. Possessive, and strings are closed by the end of
# the text as well: linear for any input, broken ones included.
_NEXT_BRACKET = re.compile(
    rb'(?:[^"\[\]{}]++|"[^"\\]*+(?:\\(?:.|\Z)[^"\\]*+)*+(?:"|\Z))*+([\[\]{}])', re.DOTALL
)

_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


def parse_body(data: bytes) -> Any:
    """The value of a JSON text. Raises ApiError before anything deep or huge is built."""
    if data.count(b"[") + data.count(b"{") > MAX_DEPTH:
        check_shape(data)
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise InvalidJson(reason=f"byte {error.start} is not valid UTF-8") from None
    try:
        value = _decoder.decode(text)
    except json.JSONDecodeError as error:
        reason = f"{error.msg[:1].lower()}{error.msg[1:]} at line {error.lineno} column {error.colno}"
        raise InvalidJson(reason=reason) from None
    except ValueError:
        # int() refuses more than 4,300 digits, as a protection against quadratic time.
        raise InvalidJson(reason="a number is too long") from None
    if _SURROGATE.search(data):
        _check_unicode(value)
    return value


def _check_unicode(value: Any) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise InvalidJson(reason="a string holds half of a surrogate pair") from None


def check_shape(data: bytes) -> None:
    """Raise ApiError for JSON that is nested too deep or has too many objects and arrays."""
    depth = containers = position = 0
    # match(), never search(): that would begin again at every byte after the last bracket.
    while match := _NEXT_BRACKET.match(data, position):
        position = match.end()
        if match[1] in b"[{":
            depth += 1
            containers += 1
        else:
            depth -= 1
        if depth > MAX_DEPTH:
            raise JsonTooDeep(limit=MAX_DEPTH)
        if containers > MAX_CONTAINERS:
            raise JsonTooComplex(limit=MAX_CONTAINERS)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        counts = Counter(key for key, _ in pairs)
        twice = counts.most_common(1)[0][0]
        raise DuplicateKey(key=printable(twice), param=twice)
    return found


def _constant(name: str) -> NoReturn:
    raise InvalidJson(reason=f"{name} is not a JSON number")


def _number(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise InvalidJson(reason="a number is out of range")
    return value


_decoder = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant, parse_float=_number)
