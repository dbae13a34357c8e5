"""Bounds on the shape of a JSON text, checked piece by piece before it is parsed.

The time is linear for any input, including invalid JSON, and nearly all of it is spent in C. Possessive
quantifiers keep the expressions from trying a position twice.
"""

from __future__ import annotations

import re
from itertools import accumulate

from api.openai.errors.parameters import JsonTooComplex, JsonTooDeep

MAX_DEPTH = 64
MAX_CONTAINERS = 100_000
MAX_KEYS = 100_000
MAX_ELEMENTS = 500_000  # more than the token ids of any request; elements of arrays and members of objects
MAX_STRINGS = MAX_KEYS + MAX_ELEMENTS  # valid JSON has no more
PIECE_BYTES = 64 * 1024
LARGE_BYTES = 100 * 1024  # smaller texts take few milliseconds to parse, whatever their shape

_INSIDE = rb'[^"\\]*+(?:\\.[^"\\]*+)*+'
_STRING = re.compile(rb'"' + _INSIDE + rb'"', re.DOTALL)
_REST_OF_STRING = re.compile(_INSIDE, re.DOTALL)
_WHOLE_STRINGS = re.compile(rb'(?:[^"]++|"' + _INSIDE + rb'")*+', re.DOTALL)
_ALL_BUT_BRACKETS = bytes(byte for byte in range(256) if byte not in b"[]{}")
_STEP = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}


class JsonShape:
    """Counts brackets, keys and elements of a JSON text that arrives in pieces."""

    def __init__(self) -> None:
        self.depth = self.containers = self.keys = self.elements = self.strings = 0
        self.is_in_string = self._is_escaped = False

    def add(self, piece: bytes) -> None:
        """Count the next piece. Raises JsonTooDeep, JsonTooComplex."""
        for start in range(0, len(piece), PIECE_BYTES):
            self._add(piece[start : start + PIECE_BYTES])

    def _add(self, piece: bytes) -> None:
        start = self._end_of_string(piece) if self.is_in_string else 0
        if self.is_in_string:
            return
        whole_strings = _WHOLE_STRINGS.match(piece, start)
        end = whole_strings.end() if whole_strings else start
        structure, strings = _STRING.subn(b"", piece[start:end])
        self.strings += strings
        self._count(structure)
        if end < len(piece):  # at the quote of a string that the next piece continues
            self.is_in_string = True
            self._end_of_string(piece, end + 1)

    def _end_of_string(self, piece: bytes, start: int = 0) -> int:
        """Return the position after the string that is open at ``start``; it may stay open."""
        start += self._is_escaped
        end = piece.find(b'"', start)
        if end < 0:
            end = len(piece)
        # Searching for single bytes takes a tenth of the time, and most long texts have few escapes.
        if piece.find(b"\\", start, end) >= 0:
            rest = _REST_OF_STRING.match(piece, start)
            end = rest.end() if rest else len(piece)
        # The expression stops at a quote, or at a backslash that is the last byte.
        self._is_escaped = piece[end : end + 1] == b"\\"
        self.is_in_string = piece[end : end + 1] != b'"'
        self.strings += not self.is_in_string
        return end + 1

    def _count(self, structure: bytes) -> None:
        brackets = structure.translate(None, _ALL_BUT_BRACKETS)
        depths = list(accumulate(map(_STEP.__getitem__, brackets), initial=self.depth))
        self.depth = depths[-1]
        if max(depths) > MAX_DEPTH:
            raise JsonTooDeep(limit=MAX_DEPTH)
        self.containers += structure.count(b"[") + structure.count(b"{")
        self.keys += structure.count(b":")
        self.elements += structure.count(b",")
        if self.containers > MAX_CONTAINERS:
            raise JsonTooComplex(limit=MAX_CONTAINERS, parts="objects and arrays")
        if self.keys > MAX_KEYS:
            raise JsonTooComplex(limit=MAX_KEYS, parts="keys of objects")
        if self.elements > MAX_ELEMENTS:
            raise JsonTooComplex(limit=MAX_ELEMENTS, parts="elements of arrays and objects")
        if self.strings > MAX_STRINGS:
            raise JsonTooComplex(limit=MAX_STRINGS, parts="strings")


def check_shape(data: bytes) -> None:
    """Raise JsonTooDeep or JsonTooComplex if a JSON text exceeds the bounds."""
    JsonShape().add(data)
