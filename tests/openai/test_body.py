"""Strict JSON parsing: exact values, and bounds checked before anything is built."""

from __future__ import annotations

import contextlib
import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.openai.errors.base import ApiError
from api.openai.validation.json_body import MAX_DEPTH, parse_body

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
