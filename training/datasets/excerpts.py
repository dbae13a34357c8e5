"""Examples of a dataset file by line number, read without parsing the others."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from training.datasets.faults import Fault
from training.datasets.lines import BLOCK_BYTES, BOM, WHITESPACE, ByteSource, FileTraits, read_records

MAX_FILE_BYTES = 64 << 20  # of JSON Lines: counting the line feeds takes about 0.1 s
MAX_ARRAY_BYTES = 4 << 20  # an array is split into its elements


def read_lines(source: ByteSource, lines: Collection[int]) -> dict[int, bytes]:
    """Return the examples on these lines (from 1), as far as they are in the part of the file that is read.

    Omits lines of a JSON array on which several examples start. Raises OSError.
    """
    head = _head(source)
    if head.removeprefix(BOM).lstrip(WHITESPACE).startswith(b"["):
        return _array_elements(_Beginning(head, source, MAX_ARRAY_BYTES), lines)
    return dict(_lines(_Beginning(head, source, MAX_FILE_BYTES), lines))


def _head(source: ByteSource) -> bytes:
    """Return the first bytes up to some that aren't blank, enough to tell an array from lines.

    After a whole block of blanks, the file is taken for lines.
    """
    head = b""
    while len(head) < 8 or (len(head) < BLOCK_BYTES and not head.strip(WHITESPACE)):
        block = source.read(BLOCK_BYTES)
        if not block:
            break
        head += block
    return head


class _Beginning:
    """The first ``limit`` bytes of a source, from which ``head`` was read before. ``is_cut``: it has more."""

    def __init__(self, head: bytes, source: ByteSource, limit: int) -> None:
        self._head = head
        self._source = source
        self._rest = limit
        self.is_cut = False

    def read(self, size: int, /) -> bytes:
        data, self._head = self._head or self._source.read(size), b""
        self._rest -= len(data)
        if self._rest >= 0:
            return data
        self.is_cut = True
        return b""


def _lines(source: _Beginning, lines: Collection[int]) -> Iterator[tuple[int, bytes]]:
    """Yield the chosen lines with their numbers. Blocks without any of them aren't split."""
    remaining_lines = sorted(set(lines), reverse=True)
    number, rest = 1, b""  # the line that is open, and its start if it is one of them
    while remaining_lines and (block := source.read(BLOCK_BYTES)):
        last = number + block.count(b"\n")
        if remaining_lines[-1] > last:
            number = last
            continue
        pieces = (rest + block).split(b"\n")
        while remaining_lines and remaining_lines[-1] < last:
            line = remaining_lines.pop()
            yield line, _stripped(pieces[line - number], line)
        rest = pieces[-1] if remaining_lines and remaining_lines[-1] == last else b""
        number = last
    if remaining_lines and remaining_lines[-1] == number and rest and not source.is_cut:
        yield number, _stripped(rest, number)


def _stripped(data: bytes, line: int) -> bytes:
    return (data.removeprefix(BOM) if line == 1 else data).strip(WHITESPACE)


def _array_elements(source: _Beginning, lines: Collection[int]) -> dict[int, bytes]:
    examples: dict[int, bytes] = {}
    unusable: set[int] = set()
    last = 0
    for record in read_records(source, FileTraits()):
        if isinstance(record, Fault):
            continue
        last = record.line
        if last in examples:
            unusable.add(last)
        if last in lines:
            examples[last] = record.data
    if source.is_cut:
        unusable.add(last)  # its end may be missing
    return {line: data for line, data in examples.items() if line not in unusable}
