"""Records of a dataset file in bounded memory: lines of JSONL, or the elements of one JSON array.

``read_records`` takes anything with ``read(size) -> bytes`` and holds at most one record and one block.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Protocol, TypeAlias

import msgspec

from training.datasets.faults import Fault

BLOCK_BYTES = 1 << 20
MAX_RECORD_BYTES = 16 << 20
BOM = b"\xef\xbb\xbf"
WHITESPACE = b" \t\r\n"
_FOREIGN = (
    (b"\xff\xfe", "UTF-16 text"),
    (b"\xfe\xff", "UTF-16 text"),
    (b"\x1f\x8b", "gzip data"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"PAR1", "a Parquet file"),
    (b"ARROW1", "an Arrow file"),
    (b"\x28\xb5\x2f\xfd", "Zstandard data"),
    (b"BZh", "bzip2 data"),
    (b"\xfd7zXZ", "xz data"),
)
MAX_ARRAY_DEPTH = 1000  # JSON values that deep are refused anyway
_STRUCTURE = re.compile(rb'["\[\]{}]')
_ELEMENT_STRUCTURE = re.compile(rb'["\[\]{},]')
_BLANK_LINES = re.compile(rb"[ \t\r\n]*\n")
_STRING_END = re.compile(rb'["\\]')


class ByteSource(Protocol):
    """A binary stream."""

    def read(self, size: int, /) -> bytes:
        """Return up to ``size`` bytes, nothing at the end."""
        ...


class Record(msgspec.Struct, frozen=True):
    """The bytes of one example and the physical line on which they start. ``path``: its place in an array."""

    line: int
    data: bytes
    path: str = ""


class FileTraits(msgspec.Struct):
    """Properties of a file as a whole, for its report. They are filled in while the file is read."""

    size_bytes: int = 0
    lines: int = 0
    blank_lines: int = 0
    first_blank_line: int = 0
    has_bom: bool = False
    is_array: bool = False
    has_crlf: bool = False
    lacks_last_newline: bool = False


RecordOrFault: TypeAlias = Record | Fault


def read_records(source: ByteSource, traits: FileTraits) -> Iterator[RecordOrFault]:
    """Yield the records of a file, with a fault for each that can't be read. Fills ``traits``."""
    blocks = _blocks(source, traits)
    head = _head(blocks)
    foreign = next((name for magic, name in _FOREIGN if head.startswith(magic)), None)
    if foreign is not None:
        yield Fault(line=1, path="", code="not_text", found=foreign, expected="JSON Lines in UTF-8")
        return
    if head.startswith(BOM):
        traits.has_bom = True
        head = head[len(BOM) :]
    if head.lstrip(WHITESPACE).startswith(b"["):
        traits.is_array = True
        yield from _ArrayReader(_chain(head, blocks), traits).records()
    else:
        yield from _lines(_chain(head, blocks), traits)


def _blocks(source: ByteSource, traits: FileTraits) -> Iterator[bytes]:
    while block := source.read(BLOCK_BYTES):
        traits.size_bytes += len(block)
        yield block


def _head(blocks: Iterator[bytes]) -> bytes:
    """Return the first blocks up to one that isn't blank, enough to tell an array from lines."""
    head = b""
    for block in blocks:
        head += block
        if len(head) >= 8 and (head.lstrip(WHITESPACE) or len(head) > MAX_RECORD_BYTES):
            break
    return head


def _chain(head: bytes, blocks: Iterator[bytes]) -> Iterator[bytes]:
    if head:
        yield head
    yield from blocks


def _too_long(line: int, size: int) -> Fault:
    return Fault(
        line=line,
        path="",
        code="line_too_long",
        found=f"more than {size} bytes",
        expected=f"at most {MAX_RECORD_BYTES} bytes for one example",
    )


def _lines(blocks: Iterator[bytes], traits: FileTraits) -> Iterator[RecordOrFault]:
    rest: list[bytes] = []
    rest_bytes = 0
    for block in blocks:
        start = 0
        while (end := block.find(b"\n", start)) >= 0:
            if not rest_bytes and (blank := _BLANK_LINES.match(block, start)):
                _count_blank_lines(block, start, blank.end(), traits)
                start = blank.end()
                continue
            rest.append(block[start:end])
            yield from _line(rest, rest_bytes + end - start, traits)
            rest, rest_bytes, start = [], 0, end + 1
        rest_bytes += len(block) - start
        if rest_bytes <= MAX_RECORD_BYTES:
            rest.append(block[start:])
    if rest_bytes:
        traits.lacks_last_newline = True
        yield from _line(rest, rest_bytes, traits)


def _count_blank_lines(block: bytes, start: int, end: int, traits: FileTraits) -> None:
    traits.first_blank_line = traits.first_blank_line or traits.lines + 1
    traits.has_crlf = traits.has_crlf or block.find(b"\r\n", start, end) >= 0
    count = block.count(b"\n", start, end)
    traits.blank_lines += count
    traits.lines += count


def _line(pieces: list[bytes], size: int, traits: FileTraits) -> Iterator[RecordOrFault]:
    traits.lines += 1
    if size > MAX_RECORD_BYTES:
        yield _too_long(traits.lines, MAX_RECORD_BYTES)
        return
    data = b"".join(pieces)
    if data.endswith(b"\r"):
        traits.has_crlf = True
    data = data.strip(WHITESPACE)
    if data:
        yield Record(traits.lines, data)
    else:
        traits.blank_lines += 1
        traits.first_blank_line = traits.first_blank_line or traits.lines


class _ArrayReader:
    """Splits one JSON array into its elements without parsing them."""

    def __init__(self, blocks: Iterator[bytes], traits: FileTraits) -> None:
        self._blocks = blocks
        self._traits = traits
        self._traits.lines = 1
        self._element = bytearray()
        self._element_line = 1
        self._depth = 0
        self._in_string = False
        self._is_escaped = False
        self._is_too_long = False
        self._is_closed = False
        self._count = 0

    def records(self) -> Iterator[RecordOrFault]:
        last = b""
        for block in self._blocks:
            last = block
            yield from self._split(block)
            if self._depth > MAX_ARRAY_DEPTH:
                found = f"more than {MAX_ARRAY_DEPTH} levels of nesting"
                yield self._fault("too_deep", found, "an array of examples")
                return
            if self._is_closed and self._element.strip(WHITESPACE):
                break
        if self._is_closed:
            yield from self._after_end()
        else:
            yield from self._take()
            yield self._fault("unclosed_array", "the end of the file", 'a closing "]"')
        if last.endswith(b"\n"):
            self._traits.lines -= 1

    def _split(self, block: bytes) -> Iterator[RecordOrFault]:
        position = 0
        while position < len(block):
            if self._in_string:
                position = self._skip_string(block, position)
                continue
            pattern = _ELEMENT_STRUCTURE if self._depth <= 1 else _STRUCTURE
            match = pattern.search(block, position)
            if match is None or self._is_closed:
                self._keep(block[position:])
                return
            if self._depth > MAX_ARRAY_DEPTH:
                return
            self._keep(block[position : match.start()])
            yield from self._structure(match.group())
            position = match.end()

    def _skip_string(self, block: bytes, position: int) -> int:
        start = position
        if self._is_escaped:
            self._is_escaped = False
            position += 1
        while match := _STRING_END.search(block, position):
            position = match.end()
            if match.group() == b'"':
                self._in_string = False
                self._keep(block[start:position])
                return position
            if position == len(block):
                self._is_escaped = True
                break
            position += 1
        self._keep(block[start:])
        return len(block)

    def _structure(self, char: bytes) -> Iterator[RecordOrFault]:
        if char == b'"':
            self._in_string = True
        elif char in b"[{":
            self._depth += 1
            if self._depth == 1:
                return
        elif char in b"]}":
            self._depth -= 1
            if self._depth == 0:
                yield from self._close(char)
                return
        elif self._depth == 1 and char == b",":
            if not self._element:
                found = f"no value before comma {self._count + 1}"
                yield self._fault("missing_element", found, "a value between commas")
            yield from self._take()
            return
        self._keep(char)

    def _close(self, char: bytes) -> Iterator[RecordOrFault]:
        yield from self._take()
        self._is_closed = True
        if char != b"]":
            yield self._fault("unclosed_array", '"}"', 'a closing "]"')

    def _keep(self, piece: bytes) -> None:
        if not self._element:
            rest = piece.lstrip(WHITESPACE)
            self._traits.lines += piece.count(b"\n", 0, len(piece) - len(rest))
            self._element_line = self._traits.lines
            piece = rest
        self._traits.lines += piece.count(b"\n")
        self._is_too_long = self._is_too_long or len(self._element) + len(piece) > MAX_RECORD_BYTES
        if self._is_too_long:
            del self._element[64:]
        else:
            self._element += piece

    def _take(self) -> Iterator[RecordOrFault]:
        data = bytes(self._element.strip(WHITESPACE))
        if self._is_too_long:
            yield _too_long(self._element_line, MAX_RECORD_BYTES)
        elif data:
            yield Record(self._element_line, data, f"[{self._count}]")
        self._count += 1
        self._element.clear()
        self._is_too_long = False

    def _after_end(self) -> Iterator[RecordOrFault]:
        if self._element.strip(WHITESPACE):
            yield self._fault("text_after_array", "more text after the array", "the end of the file")

    def _fault(self, code: str, found: str, expected: str) -> Fault:
        path = f"[{self._count}]" if code == "missing_element" else ""
        return Fault(line=self._element_line, path=path, code=code, found=found, expected=expected)
