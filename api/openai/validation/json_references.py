"""References in a JSON schema: each must resolve to a node of the schema, and not only to itself."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from api.openai.errors.parameters import InvalidValue
from api.openai.validation.json_schema_nodes import MAX_PATH_LENGTH, Path

# Keywords whose branches apply to the same value as the node itself.
_SAME_VALUE = ("allOf", "anyOf", "oneOf")


def check_references(schema: dict[str, Any], nodes: Iterable[tuple[Path, Any]], max_steps: int) -> None:
    """Raise ApiError for references without a target, cycles of references, and long chains.

    ``nodes``: the schema and the schemas in it, with their paths. ``max_steps``: the longest chain of
    references and alternatives.
    """
    checked_ids: set[int] = set()
    for path, node in nodes:
        _follow(node, str(path), schema, checked_ids, [], max_steps)


def _follow(
    node: Any, path: str, schema: dict[str, Any], checked_ids: set[int], trail: list[int], max_steps: int
) -> None:
    if not isinstance(node, dict) or id(node) in checked_ids:
        return
    if id(node) in trail:
        raise InvalidValue(param=path, reason="the reference leads only to itself")
    # A longer chain would exceed Python's recursion limit.
    if len(trail) > max_steps:
        reason = f"the chain of references is too long, above the limit of {max_steps} steps; shorten it"
        raise InvalidValue(param=path[:MAX_PATH_LENGTH], reason=reason)
    trail.append(id(node))
    if isinstance(node.get("$ref"), str):
        target = _target(node["$ref"], f"{path}.$ref", schema)
        _follow(target, f"{path}.$ref", schema, checked_ids, trail, max_steps)
    for keyword in _SAME_VALUE:
        branches = node.get(keyword)
        for branch in branches if isinstance(branches, list) else ():
            _follow(branch, path, schema, checked_ids, trail, max_steps)
    trail.pop()
    checked_ids.add(id(node))


def _target(reference: str, path: str, schema: dict[str, Any]) -> Any:
    if reference != "#" and not reference.startswith("#/"):
        raise InvalidValue(
            param=path, reason="expected a reference into the schema itself, as '#/$defs/name'"
        )
    target: Any = schema
    for step in reference.split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        if isinstance(target, list) and name.isdecimal() and len(name) < 4 and int(name) < len(target):
            target = target[int(name)]
        elif isinstance(target, dict) and name in target:
            target = target[name]
        else:
            raise InvalidValue(param=path, reason="the target of the reference does not exist")
    return target
