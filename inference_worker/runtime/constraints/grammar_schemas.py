"""JSON schemas for grammars: without annotations, or without every bound that a grammar can't express."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

Json = dict[str, Any]

MAX_ENUM_VALUES = 1000
MAX_DATA_CHARACTERS = 16_384  # of one ``enum`` or ``const``
MAX_PATTERN_LENGTH = 64
MAX_INTEGER = 2**53
# Longer repetitions compile slowly.
_COUNTS = {"Length": 256, "Items": 64}
_TYPES = frozenset({"array", "boolean", "integer", "null", "number", "object", "string"})
_FORMATS = frozenset({"date", "date-time", "time", "uuid"})
# Without groups a pattern can't repeat a repetition, which is what compiles slowly.
_SIMPLE_PATTERN = re.compile(r"(?:[^(){}\\]|\\[dws.\-/]|\{\d{1,2}(?:,\d{1,2})?\})*")
_NAMED = ("$defs", "definitions", "properties")
_ANNOTATIONS = frozenset(
    {"$comment", "default", "deprecated", "description", "examples", "readOnly", "title", "writeOnly"}
)


def without_annotations(schema: Any, *, is_names: bool = False) -> Any:
    """Return a schema without data that doesn't constrain the output: vLLM would treat it as schemas.

    ``is_names``: the keys are names of properties or definitions, not keywords.
    """
    if isinstance(schema, list):
        return [without_annotations(inner) for inner in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: value
        if key in ("const", "enum") and not is_names
        else without_annotations(value, is_names=not is_names and key in (*_NAMED, "patternProperties"))
        for key, value in schema.items()
        if is_names or not (key in _ANNOTATIONS or key.startswith("x-"))
    }


def relaxed_object(schema: Mapping[str, Any] | None) -> Json:
    """Return a schema of objects with the declared properties that always compiles.

    Every object that matches the schema matches the result, except that undeclared properties are excluded
    where the schema is silent about them. No schema means no parameters.
    """
    if schema is None:
        return {"type": "object", "properties": {}, "additionalProperties": False}
    result = _relaxed(schema)
    if "$ref" not in result:
        result = {key: value for key, value in result.items() if key not in ("anyOf", "enum", "const")}
        result["type"] = "object"
    for name in ("$defs", "definitions"):
        if isinstance(schema.get(name), dict):
            result[name] = {key: _relaxed(value) for key, value in schema[name].items()}
    _remove_broken_references(result)
    return {"type": "object"} if result.get("type", "object") != "object" else result or {"type": "object"}


def _relaxed(schema: Any) -> Json:
    if not isinstance(schema, dict):
        return {}
    if isinstance(schema.get("$ref"), str):
        return {"$ref": schema["$ref"]}
    if "properties" not in schema and (alternatives := _alternatives(schema)) is not None:
        return alternatives
    result = _relaxed_type(schema)
    if not result.keys() & {"enum", "const"}:
        result |= _relaxed_string(schema) | _counts(schema, "Items") | _range(schema)
        result |= _relaxed_object_keywords(schema) | _relaxed_items(schema)
    return result


def _alternatives(schema: Json) -> Json | None:
    for keyword in ("anyOf", "oneOf"):
        if isinstance(branches := schema.get(keyword), list) and branches:
            return {"anyOf": [_relaxed(branch) for branch in branches]}
    if isinstance(branches := schema.get("allOf"), list) and branches:
        # A grammar can't intersect schemas.
        return _relaxed(branches[0]) if len(branches) == 1 else _relaxed_type(schema)
    return None


def _relaxed_type(schema: Json) -> Json:
    enum = schema.get("enum")
    if isinstance(enum, list) and 0 < len(enum) <= MAX_ENUM_VALUES and _is_small(enum):
        return {"enum": enum}
    if "const" in schema and _is_small(schema["const"]):
        return {"const": schema["const"]}
    types = schema.get("type")
    names = [types] if isinstance(types, str) else types if isinstance(types, list) else []
    if not names or not all(isinstance(name, str) and name in _TYPES for name in names):
        return {}
    return {"type": names[0] if len(names) == 1 else names}


def _is_small(data: Any) -> bool:
    return len(json.dumps(data)) <= MAX_DATA_CHARACTERS


def _relaxed_string(schema: Json) -> Json:
    pattern = schema.get("pattern")
    if isinstance(pattern, str) and len(pattern) <= MAX_PATTERN_LENGTH and _is_simple(pattern):
        return {"pattern": pattern}
    if isinstance(schema.get("format"), str) and schema["format"] in _FORMATS:
        return {"format": schema["format"]}
    # vLLM supports lengths only without a pattern or format.
    return _counts(schema, "Length")


def _is_simple(pattern: str) -> bool:
    try:
        return bool(_SIMPLE_PATTERN.fullmatch(pattern)) and "[[" not in pattern and bool(re.compile(pattern))
    except re.error:
        return False


def _counts(schema: Json, unit: str) -> Json:
    lower, upper = schema.get(f"min{unit}"), schema.get(f"max{unit}")
    counts = {
        name: count
        for name, count in ((f"min{unit}", lower), (f"max{unit}", upper))
        if type(count) is int and 0 <= count <= _COUNTS[unit]
    }
    return counts if counts.get(f"min{unit}", 0) <= counts.get(f"max{unit}", MAX_INTEGER) else {}


def _range(schema: Json) -> Json:
    names = ("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum")
    bounds = {
        name: schema[name]
        for name in names
        if type(schema.get(name)) is int and abs(schema[name]) <= MAX_INTEGER
    }
    lower = [bounds[name] for name in names[:2] if name in bounds]
    upper = [bounds[name] for name in names[2:] if name in bounds]
    is_empty = lower and upper and max(lower) >= min(upper)
    return {} if is_empty or len(lower) > 1 or len(upper) > 1 else bounds


def _relaxed_object_keywords(schema: Json) -> Json:
    result: Json = {}
    properties = schema.get("properties")
    if isinstance(properties, dict):
        result["properties"] = {
            name: _relaxed(inner) for name, inner in properties.items() if inner is not False
        }
        if names := [name for name in _strings(schema.get("required")) if name in properties]:
            result["required"] = list(dict.fromkeys(names))
    additional = schema.get("additionalProperties")
    if "patternProperties" in schema:
        result["additionalProperties"] = True
    elif isinstance(additional, bool | dict):
        result["additionalProperties"] = _relaxed(additional) if isinstance(additional, dict) else additional
    return result


def _strings(value: Any) -> list[str]:
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def _relaxed_items(schema: Json) -> Json:
    items = schema.get("items")
    if isinstance(prefix := schema.get("prefixItems", items), list):
        return {"prefixItems": [_relaxed(item) for item in prefix]} if prefix else {}
    return {"items": _relaxed(items)} if isinstance(items, dict) else {}


def _remove_broken_references(root: Json) -> None:
    """Replace references that the grammar can't follow, to other documents or only to themselves."""
    pending: list[Any] = [root]
    while pending:
        node = pending.pop()
        if isinstance(node, list):
            pending.extend(node)
        elif isinstance(node, dict):
            if isinstance(node.get("$ref"), str) and not _leads_to_schema(node["$ref"], root):
                del node["$ref"]
            pending.extend(value for key, value in node.items() if key not in ("enum", "const"))


def _leads_to_schema(reference: str, root: Json) -> bool:
    references: set[str] = set()
    while reference not in references:
        references.add(reference)
        target = _target(reference, root)
        if not isinstance(target, dict):
            return False
        if not isinstance(target.get("$ref"), str):
            return "anyOf" not in target or not _contains_reference(target["anyOf"])
        reference = target["$ref"]
    return False


def _contains_reference(branches: list[Any]) -> bool:
    """Return true if all alternatives are references: they might lead only to each other."""
    return all(isinstance(branch, dict) and "$ref" in branch for branch in branches)


def _target(reference: str, root: Json) -> Any:
    if reference != "#" and not reference.startswith("#/"):
        return None
    target: Any = root
    for step in reference.split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        target = target.get(name) if isinstance(target, dict) else None
    return target
