"""Access to the fields of a JSON object that reports each fault with its path."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from functools import lru_cache
from itertools import islice

from training.datasets.faults import LineFaults, describe, join_path, one_of, quote

Json = dict[str, object]
MAX_NAMES = 100  # compared with the known ones
MAX_NAME_CHARS = 50  # longer names can't be misspellings


class Fields:
    """The object at ``path`` of an example. Getters return None after reporting a fault."""

    def __init__(self, value: Json, path: str, faults: LineFaults) -> None:
        self.value = value
        self.path = path
        self.faults = faults

    def at(self, name: str) -> str:
        """Return the path of a field."""
        return join_path(self.path, name)

    def fault(self, name: str, code: str, expected: str, *, found: str | None = None) -> None:
        """Report a fault of a field."""
        if found is None:
            found = describe(self.value[name]) if name in self.value else "nothing"
        self.faults.add(self.at(name), code, found, expected)

    def missing(self, name: str, expected: str) -> None:
        """Report a field that is missing, under its misspelt name if there is one."""
        others = [key for key in islice(self.value, MAX_NAMES) if key != name]
        match = difflib.get_close_matches(name, others, n=1, cutoff=0.75)
        if match:
            path = join_path(self.path, match[0])
            self.faults.add(path, "unknown_field", f"the field {quote(match[0])}", f"the field {quote(name)}")
        else:
            self.fault(name, "missing", expected)

    def text(self, name: str, *, is_required: bool = True, may_be_empty: bool = True) -> str | None:
        """Return a string field; None if it is absent or null."""
        expected = "text" if may_be_empty else "text that is not empty"
        value = self.value.get(name)
        if value is None:
            if is_required and name in self.value:
                self.fault(name, "wrong_type", expected)
            elif is_required:
                self.missing(name, expected)
            return None
        if not isinstance(value, str):
            self.fault(name, "wrong_type", expected)
            return None
        if not may_be_empty and not value.strip():
            self.fault(name, "empty", expected, found="only white space" if value else None)
            return None
        return value

    def array(
        self, name: str, expected: str, *, may_be_empty: bool = False, max_length: int | None = None
    ) -> list[object] | None:
        """Return an array field that must be there."""
        value = self.value.get(name)
        if name not in self.value:
            self.missing(name, expected)
        elif not isinstance(value, list):
            self.fault(name, "wrong_type", expected)
        elif not value and not may_be_empty:
            self.fault(name, "empty", expected)
        elif max_length is not None and len(value) > max_length:
            self.fault(name, "too_many", f"at most {max_length}")
        else:
            return value
        return None

    def choice(self, name: str, values: tuple[str, ...]) -> str | None:
        """Return a field that must be one of some strings."""
        value = self.value.get(name)
        if name not in self.value:
            self.missing(name, one_of(values))
        elif not isinstance(value, str):
            self.fault(name, "wrong_type", one_of(values))
        elif value not in values:
            self.fault(name, "unknown_value", one_of(values))
        else:
            return value
        return None

    def only(self, known_names: tuple[str, ...], ignored_names: tuple[str, ...] = ()) -> None:
        """Report every other field, unless it is null."""
        for name, value in self.value.items():
            if name not in known_names and name not in ignored_names and value is not None:
                expected = f"one of the fields {', '.join(known_names)}"
                self.faults.add(self.at(name), "unknown_field", f"the field {quote(name)}", expected)

    def misspelt(self, known_names: tuple[str, ...]) -> list[str]:
        """Report misspelt names of known fields; return the names of the other unknown fields."""
        unknown = [
            name for name, value in self.value.items() if name not in known_names and value is not None
        ]
        others = []
        for place, name in enumerate(unknown):
            match = _closest(name, known_names) if place < MAX_NAMES else None
            if match is not None and match not in self.value:
                found, expected = f"the field {quote(name)}", f"the field {quote(match)}"
                self.faults.add(self.at(name), "unknown_field", found, expected)
            else:
                others.append(name)
        return others


@lru_cache(4096)  # the lines of a file have the same fields
def _closest(name: str, known_names: tuple[str, ...]) -> str | None:
    """Return the known name that is nearly the same, or None."""
    if len(name) > MAX_NAME_CHARS:
        return None
    return next(iter(difflib.get_close_matches(name, known_names, n=1, cutoff=0.8)), None)


def objects(items: Iterable[object], path: str, faults: LineFaults, expected: str) -> list[Fields | None]:
    """Return the objects of an array; report those that aren't, with None in their place."""
    result: list[Fields | None] = []
    for index, item in enumerate(items):
        at = f"{path}[{index}]"
        if isinstance(item, dict):
            result.append(Fields(item, at, faults))
        else:
            faults.add(at, "wrong_type", describe(item), expected)
            result.append(None)
    return result
