"""Strict JSON parsing: UTF-8, finite numbers, unique keys, bounded depth and size."""

from __future__ import annotations

import codecs
import json
import re
from collections import Counter
from typing import Any, NoReturn

from api.openai.errors.base import printable
from api.openai.errors.parameters import DuplicateKey, InvalidJson
from api.openai.validation.json_shape import LARGE_BYTES, MAX_DEPTH, check_shape

_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


def parse_body(data: bytes, *, is_checked: bool = False) -> Any:
    """Return the value of a JSON text. Raises ApiError; depth and size are checked before parsing.

    ``is_checked``: its shape has been checked already.
    """
    data = data.removeprefix(codecs.BOM_UTF8)
    if not is_checked and (len(data) > LARGE_BYTES or data.count(b"[") + data.count(b"{") > MAX_DEPTH):
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
        # int() rejects more than 4,300 digits, because its time is quadratic.
        raise InvalidJson(reason="a number is too long") from None
    if _SURROGATE.search(data):
        _check_unicode(value)
    return value


def _check_unicode(value: Any) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise InvalidJson(reason="a string contains an unpaired surrogate") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        counts = Counter(key for key, _ in pairs)
        duplicate = counts.most_common(1)[0][0]
        raise DuplicateKey(key=printable(duplicate), param=duplicate)
    return value


def _constant(name: str) -> NoReturn:
    raise InvalidJson(reason=f"{name} is not a JSON number")


def _number(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise InvalidJson(reason="a number is out of range")
    return value


_decoder = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant, parse_float=_number)
