"""The schemas inside a JSON schema, as opposed to its data and the names of its properties."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from typing_extensions import override

# Keywords with one schema, a list of schemas, and an object of schemas by name. The values of all others,
# such as ``default``, ``enum``, ``examples`` and unknown keywords, are data.
_ONE = frozenset(
    {
        *("additionalItems", "additionalProperties", "contains", "contentSchema", "else", "if", "items"),
        *("not", "propertyNames", "then", "unevaluatedItems", "unevaluatedProperties"),
    }
)
_MANY = frozenset({"allOf", "anyOf", "items", "oneOf", "prefixItems"})
_NAMED = frozenset(
    {"$defs", "definitions", "dependencies", "dependentSchemas", "patternProperties", "properties"}
)

MAX_PATH_LENGTH = 512


class Path:
    """The path of a value, rendered on demand: as strings, those of a large body would need gigabytes."""

    __slots__ = ("_parent", "_step")

    def __init__(self, step: str, parent: Path | None = None) -> None:
        self._step = step
        self._parent = parent

    @override
    def __str__(self) -> str:
        steps: list[str] = []
        path: Path | None = self
        while path is not None:
            steps.append(path._step)
            path = path._parent
        return "".join(reversed(steps))[:MAX_PATH_LENGTH]


Node = tuple[Path, dict[str, Any], int]
"""A schema with its path and its depth, which is 1 for the schema that contains all others."""


def schema_nodes(schema: dict[str, Any], param: str) -> Iterator[Node]:
    """Yield a schema and all schemas in it, without those that are true or false. Follows no references."""
    pending: list[tuple[Path, Any, int]] = [(Path(param), schema, 1)]
    while pending:
        path, node, depth = pending.pop()
        if not isinstance(node, dict):
            continue
        yield path, node, depth
        for keyword, value in node.items():
            pending.extend((inner, child, depth + 1) for inner, child in _inner(keyword, value, path))


def nested_values(value: Any, param: str) -> Iterator[tuple[Path, Any]]:
    """Yield a JSON value and all values in it."""
    pending: list[tuple[Path, Any]] = [(Path(param), value)]
    while pending:
        path, value = pending.pop()
        yield path, value
        if isinstance(value, dict):
            pending.extend((Path(f".{key}", path), inner) for key, inner in value.items())
        elif isinstance(value, list):
            pending.extend((Path(f"[{index}]", path), inner) for index, inner in enumerate(value))


def _inner(keyword: str, value: Any, path: Path) -> Iterator[tuple[Path, Any]]:
    if isinstance(value, dict):
        if keyword in _NAMED:
            parent = Path(f".{keyword}", path)
            yield from ((Path(f".{name}", parent), child) for name, child in value.items())
        elif keyword in _ONE:
            yield Path(f".{keyword}", path), value
    elif isinstance(value, list) and keyword in _MANY:
        yield from ((Path(f".{keyword}[{index}]", path), child) for index, child in enumerate(value))
