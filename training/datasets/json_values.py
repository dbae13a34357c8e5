"""Strict JSON: duplicate keys, NaN, huge numbers, lone surrogates and deep nesting are faults."""

from __future__ import annotations

import json
from collections import Counter
from typing import NoReturn

from training.datasets.faults import Fault, quote
from training.datasets.lines import Record

MAX_DEPTH = 100
MAX_DIGITS = 20
ONE_OBJECT = "one complete JSON object on each line"


class _RefusedError(ValueError):
    """A value that JSON in a dataset must not have."""

    def __init__(self, code: str, found: str, expected: str) -> None:
        super().__init__(found)
        self.code, self.found, self.expected = code, found, expected


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    value = dict(pairs)
    if len(value) != len(pairs):
        names = Counter(name for name, _ in pairs)
        name, _ = names.most_common(1)[0]
        raise _RefusedError("duplicate_key", f"the key {quote(name)} twice in one object", "each key once")
    return value


def _integer(text: str) -> int:
    digits = len(text.removeprefix("-"))
    value = int(text) if digits <= MAX_DIGITS else None
    if value is None or not -(2**63) <= value < 2**64:
        raise _RefusedError("huge_number", f"a number of {digits} digits", "a number of at most 64 bits")
    return value


def _float(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise _RefusedError("huge_number", "a number beyond the range of floats", "a finite number")
    return value


def _constant(text: str) -> NoReturn:
    raise _RefusedError("not_finite", text, "a finite number or null")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_unique, parse_int=_integer, parse_float=_float, parse_constant=_constant
)


def parse_object(record: Record) -> dict[str, object] | Fault:
    """Return the object in a record, or the fault that prevents it."""
    try:
        text = record.data.decode("utf-8")
        value = _DECODER.decode(text)
    except UnicodeDecodeError as error:
        line = record.line + record.data.count(b"\n", 0, error.start)
        found = f"the byte 0x{record.data[error.start]:02x} at offset {error.start}"
        return _fault(record, line, "not_utf8", found, "UTF-8 text")
    except _RefusedError as error:
        return _fault(record, record.line, error.code, error.found, error.expected)
    except json.JSONDecodeError as error:
        return _syntax_fault(record, text, error)
    except RecursionError:
        return _too_deep(record)
    if not isinstance(value, dict):
        return _fault(record, record.line, "not_an_object", _kind(value), ONE_OBJECT)
    return _unsafe(record, value) or value


def _fault(record: Record, line: int, code: str, found: str, expected: str) -> Fault:
    return Fault(line=line, path=record.path, code=code, found=found, expected=expected)


def _too_deep(record: Record) -> Fault:
    found, expected = f"more than {MAX_DEPTH} levels of nesting", f"at most {MAX_DEPTH} levels"
    return _fault(record, record.line, "too_deep", found, expected)


def _kind(value: object) -> str:
    names = {list: "an array", str: "a string", bool: "a boolean", int: "a number", float: "a number"}
    return names.get(type(value), "null")


def _syntax_fault(record: Record, text: str, error: json.JSONDecodeError) -> Fault:
    line = record.line + text.count("\n", 0, error.pos)
    if error.msg == "Extra data":
        return _fault(
            record,
            line,
            "several_values",
            f"more text after the value, at character {error.colno}",
            ONE_OBJECT,
        )
    reason = error.msg[:1].lower() + error.msg[1:]
    rest = text[error.pos : error.pos + 20]
    near = f"at {quote(rest)}" if rest else "at the end of the line"
    return _fault(
        record, line, "invalid_json", f"invalid JSON: {reason} (character {error.colno}, {near})", ONE_OBJECT
    )


def _unsafe(record: Record, value: dict[str, object]) -> Fault | None:
    """Return the fault of an object that parses but can't be encoded again, or nests too deeply."""
    if record.data.count(b"{") + record.data.count(b"[") > MAX_DEPTH and _depth(value) > MAX_DEPTH:
        return _too_deep(record)
    if b"\\ud" in record.data.lower() and _has_surrogate(value):
        return _fault(
            record,
            record.line,
            "lone_surrogate",
            "half of a surrogate pair (\\ud800 to \\udfff)",
            "complete characters",
        )
    return None


def _depth(value: object) -> int:
    """Return the levels of nesting, up to one more than is allowed."""
    level, depth = [value], 0
    while level and depth <= MAX_DEPTH:
        children: list[object] = []
        for item in level:
            if isinstance(item, dict):
                children.extend(item.values())
            elif isinstance(item, list):
                children.extend(item)
        depth += any(isinstance(item, dict | list) for item in level)
        level = children
    return depth


def _has_surrogate(value: object) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        return True
    return False
