"""Strict JSON parsing: exact values, and bounds checked before anything is built."""

from __future__ import annotations

import contextlib
import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.openai.errors.base import ApiError
from api.openai.errors.parameters import JsonTooComplex
from api.openai.validation.json_body import parse_body
from api.openai.validation.json_shape import MAX_DEPTH, JsonShape

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(JSON)
def test_every_json_value_is_parsed(value: object) -> None:
    assert parse_body(json.dumps(value).encode()) == value


@given(st.binary(max_size=200))
def test_any_bytes_are_json_or_raise_an_error_of_the_catalogue(data: bytes) -> None:
    outcome = None
    with contextlib.suppress(ApiError):
        outcome = (parse_body(data),)
    if outcome is not None:
        assert outcome == (json.loads(data),)


@settings(max_examples=30)
@given(st.integers(MAX_DEPTH - 3, MAX_DEPTH + 3), st.text('[]{}\\"', max_size=20))
def test_depth_is_counted_outside_of_strings_only(depth: int, text: str) -> None:
    data = b"[" * depth + json.dumps(text).encode() + b"]" * depth
    if depth > MAX_DEPTH:
        with pytest.raises(ApiError, match="json_too_deep"):
            parse_body(data)
    else:
        parse_body(data)


PIECES = st.lists(st.integers(1, 40), min_size=1, max_size=30)


def _counts(value: object) -> list[int]:
    """Return the number of containers, keys and commas of a value."""
    if isinstance(value, dict):
        own, inner = [1, len(value), max(len(value) - 1, 0)], list(value.values())
    elif isinstance(value, list):
        own, inner = [1, 0, max(len(value) - 1, 0)], value
    else:
        return [0, 0, 0]
    return [sum(numbers) for numbers in zip(own, *map(_counts, inner), strict=True)]


@pytest.mark.case("robustness.1")
@given(JSON, PIECES, st.booleans())
def test_the_shape_is_counted_outside_of_strings_however_the_text_is_cut(
    value: object, sizes: list[int], escape: bool
) -> None:
    data = json.dumps({'"k\\': value, "[{:,": '\\\\"]'}, ensure_ascii=escape).encode()
    shape, position = JsonShape(), 0
    for size in [*sizes, len(data)]:
        shape.add(data[position : position + size])
        position += size
    assert (shape.depth, shape.is_in_string) == (0, False)
    assert [shape.containers, shape.keys, shape.elements] == _counts({"a": value, "b": ""})


@pytest.mark.case("robustness.1")
@given(st.text('"\\a[:,'), PIECES)
def test_a_cut_does_not_change_the_shape_of_any_text(text: str, sizes: list[int]) -> None:
    whole, cut, position = JsonShape(), JsonShape(), 0
    data = text.encode()
    whole.add(data)
    for size in [*sizes, len(data)]:
        cut.add(data[position : position + size])
        position += size
    assert vars(cut) == vars(whole)


@pytest.mark.case("robustness.1")
@pytest.mark.parametrize(
    ("data", "parts"),
    [
        (b"{" + b'"k":0,' * 100_001 + b'"z":0}', "keys of objects"),
        (b"[" + b"0," * 500_001 + b"0]", "elements of arrays and objects"),
        (b'""' * 600_001, "strings"),
        (b"[" + b"[]," * 100_001 + b"0]", "objects and arrays"),
    ],
)
def test_each_bound_of_the_shape_is_named(data: bytes, parts: str) -> None:
    with pytest.raises(JsonTooComplex) as excinfo:
        parse_body(data)
    assert parts in excinfo.value.message


@pytest.mark.case("robustness.1")
def test_commas_and_colons_in_strings_do_not_count() -> None:
    text = "12:34:56, [x]: {y}, " * 200_000
    assert parse_body(json.dumps([text]).encode()) == [text]
    ids = list(range(100_000, 500_000))
    assert parse_body(json.dumps(ids).encode()) == ids


@pytest.mark.criterion("6.8")
@pytest.mark.parametrize(
    "hostile",
    [
        b"[" * 8_000_000,
        b"[]," * 2_600_000,
        b'"' + b'\\"' * 4_000_000 + b"\\",
        b'{"a":' * 1_600_000,
        b"[" * 100 + b'"' * 7_999_900,
        b"[" * 60 + b"[]," * 10 + b'"a",' * 1_900_000,
        b"[" * 60 + b"[]," * 10 + b"1," * 3_900_000,
    ],
    ids=["deep", "many", "escapes", "deep objects", "quotes", "strings", "numbers"],
)
def test_hostile_bodies_of_the_largest_size_are_rejected_quickly(hostile: bytes) -> None:
    start = time.process_time()
    with pytest.raises(ApiError):
        parse_body(hostile)
    assert time.process_time() - start < 1.0
