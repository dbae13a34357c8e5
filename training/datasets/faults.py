"""Faults of a dataset file: line, path inside the example, the value at fault and the accepted values."""

from __future__ import annotations

import json
from collections import Counter

import msgspec

CLIP = 60  # characters of a value quoted in a fault
MAX_CHOICES = 10  # named in a fault
MAX_LINE_FAULTS = 50  # of one line; a line can't fill the report alone


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """One fault. ``line`` is physical and counts from 1; ``path`` is empty for the whole line.

    ``found`` and ``expected`` are printable phrases: control characters escaped, values clipped.
    """

    line: int
    path: str
    code: str
    found: str
    expected: str

    @property
    def message(self) -> str:
        """The fault as one sentence."""
        place = f"line {self.line}, {self.path}" if self.path else f"line {self.line}"
        return f"{place}: found {self.found}; expected {self.expected}"


class TooManyFaultsError(Exception):
    """A line has as many faults as are reported of one line."""


class LineFaults:
    """Faults of one line, each (path, code) reported once."""

    def __init__(self, line: int) -> None:
        self.line = line
        self.items: list[Fault] = []

    def add(self, path: str, code: str, found: str, expected: str) -> None:
        """Report a fault unless the same path has one with this code. Raises TooManyFaultsError."""
        if any(item.path == path and item.code == code for item in self.items):
            return
        self.items.append(Fault(line=self.line, path=path, code=code, found=found, expected=expected))
        if len(self.items) == MAX_LINE_FAULTS:
            raise TooManyFaultsError


class FaultList:
    """The first faults of a file, and counts of all by code."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.first: list[Fault] = []
        self.counts: Counter[str] = Counter()

    def add(self, fault: Fault) -> None:
        """Count a fault; keep it while there is room."""
        self.counts[fault.code] += 1
        if len(self.first) < self._limit:
            self.first.append(fault)

    @property
    def total(self) -> int:
        """Number of all faults."""
        return self.counts.total()


def clip(text: str, limit: int = CLIP) -> str:
    """Shorten a text, marking the cut with an ellipsis."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def quote(text: str) -> str:
    """Return a text in double quotes, clipped, with everything unprintable escaped."""
    quotation = json.dumps(clip(text), ensure_ascii=False)
    return "".join(char if char.isprintable() else f"\\u{ord(char):04x}" for char in quotation)


def describe(value: object) -> str:
    """Return a short phrase for a JSON value."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case str():
            return quote(value) if value else "an empty string"
        case int() | float():
            return f"the number {clip(str(value))}"
        case list():
            return f"an array of {len(value)}" if value else "an empty array"
        case dict():
            return _describe_object(value)
    return type(value).__name__


def _describe_object(value: dict[str, object]) -> str:
    if not value:
        return "an empty object"
    names = ", ".join(quote(name) for name in list(value)[:5])
    ellipsis = ", …" if len(value) > 5 else ""
    return f"an object with {names}{ellipsis}"


def one_of(values: tuple[str, ...]) -> str:
    """Return the phrase for a choice of values. It names at most ``MAX_CHOICES`` of them."""
    names = [quote(value) for value in values[:MAX_CHOICES]]
    if others := len(values) - len(names):
        names.append("another" if others == 1 else f"{others} others")
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"


def join_path(path: str, name: str) -> str:
    """Return the path of a field in the object at ``path``."""
    if not name.isidentifier():
        return f"{path}[{quote(name)}]"
    return f"{path}.{clip(name)}" if path else clip(name)
