"""Chosen lines of a file are those that the reader of datasets sees; lines of samples are kept exactly."""

from __future__ import annotations

import io
import json
import random
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.datasets import excerpts
from training.datasets.excerpts import read_lines
from training.datasets.faults import Fault
from training.datasets.lines import FileTraits, read_records
from training.datasets.tokens.sample_lines import MAX_BYTES, lines_of, pack_lines, unpack_differences


class _Pieces(io.BytesIO):
    """A stream that returns pieces of random sizes, as a network does."""

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(min(size or 9, random.randint(1, 9)))


LINES = st.lists(st.sampled_from([b'{"a": 1}', b'{"b": "longer text"}', b"", b"  ", b"{}"]), max_size=30)


@given(
    lines=LINES,
    chosen_lines=st.sets(st.integers(1, 35)),
    end=st.sampled_from([b"\n", b"\r\n"]),
    start=st.sampled_from([b"", b"\xef\xbb\xbf"]),
    has_last_end=st.booleans(),
)
def test_chosen_lines_are_those_of_the_reader(
    lines: list[bytes], chosen_lines: set[int], end: bytes, start: bytes, has_last_end: bool
) -> None:
    content = start + end.join(lines) + (end if has_last_end else b"")
    records = read_records(io.BytesIO(content), FileTraits())
    expected = {record.line: record.data for record in records if not isinstance(record, Fault)}
    excerpt = {line: data for line, data in read_lines(_Pieces(content), chosen_lines).items() if data}
    assert excerpt == {line: data for line, data in expected.items() if line in chosen_lines}


def test_elements_of_an_array_are_read_by_their_line_unless_they_share_it() -> None:
    content = b'[\n{"a": 1},\n{"a":\n 2}, {"a": 3},\n{"a": 4}, {"a": 5}\n]'
    assert read_lines(io.BytesIO(content), {2, 3, 4, 5}) == {2: b'{"a": 1}', 3: b'{"a":\n 2}', 4: b'{"a": 3}'}


def test_only_the_start_of_a_large_file_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(excerpts, "BLOCK_BYTES", 100)
    monkeypatch.setattr(excerpts, "MAX_FILE_BYTES", 1000)
    line = json.dumps({"a": "x" * 89}).encode()  # 99 bytes and a line feed
    source = io.BytesIO(b"\n".join([line] * 50))
    assert set(read_lines(source, range(1, 51))) == set(range(1, 11))
    assert source.tell() <= 1100


def test_blanks_at_the_start_of_a_file_are_not_read_as_one_block() -> None:
    content = b"\n" * (8 << 20) + b'{"a": 1}\n'
    tracemalloc.start()
    try:
        assert read_lines(io.BytesIO(content), {(8 << 20) + 1}) == {(8 << 20) + 1: b'{"a": 1}'}
        assert tracemalloc.get_traced_memory()[1] < 24 << 20
    finally:
        tracemalloc.stop()


@given(
    numbers=st.lists(st.integers(0, 2000), max_size=200),
    repetitions=st.sampled_from((1, 400)),  # for MessagePack's formats of long arrays
    step=st.integers(1, 50),
)
def test_lines_of_samples_are_kept_exactly(numbers: list[int], repetitions: int, step: int) -> None:
    lines = sorted(numbers * repetitions)
    differences = unpack_differences(pack_lines(lines))
    assert len(differences) == len(lines)
    assert lines_of(differences, range(len(lines))) == lines
    assert lines_of(differences, range(0, len(lines), step)[::-1]) == lines[::step]


def test_the_lines_of_a_million_samples_are_found_in_a_few_bytes_each() -> None:
    count = 1_000_000
    stored_lines = pack_lines(range(2, count + 2))
    tracemalloc.start()
    try:
        lines = lines_of(unpack_differences(stored_lines), (count - 1, 0, 7))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert lines == [2, 9, count + 1]
    assert peak < 4 * count


def test_lines_take_little_room_and_too_many_none() -> None:
    assert len(pack_lines(range(1, 100_001))) < 200
    numbers = random.Random(1)
    line_numbers = sorted(numbers.sample(range(1 << 40), 200_000))
    assert pack_lines(line_numbers) == b""
    assert len(pack_lines(line_numbers[:50_000])) <= MAX_BYTES
