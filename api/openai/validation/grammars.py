"""Bounds of what a constrained answer may ask an engine to compile.

Engines compile constraints in few threads and can't stop once begun. Workers with an engine of their own try
each constraint before (inference_worker/runtime/constraints/grammar_guard.py); these bounds are for what no trial is
needed for, and for remote engines.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from api.openai.errors.base import ApiError, printable
from api.openai.errors.parameters import (
    ArrayAboveMaxLength,
    IntegerAboveMaxValue,
    InvalidValue,
    StringAboveMaxLength,
)
from api.openai.validation.json_body import parse_body

MAX_CHOICES = 128
MAX_CHOICES_BYTES = 8192
MAX_PATTERN_LENGTH = 512
MAX_REPEAT = 256
MAX_REPEAT_PRODUCT = 10_000
MAX_GROUP_PRODUCT = 1000  # in a schema, where repeated groups take far longer than alone
MAX_SCHEMA_BYTES = 16_384
MAX_SCHEMAS_BYTES = 131_072  # of one request's tools together
MAX_SCHEMA_NODES = 1000
MAX_SCHEMA_DEPTH = 32
MAX_ENUM = 500
MAX_COUNT = 1000
MAX_COUNTS = 20_000  # of one schema together
MAX_NUMBER = 2**63 - 1

# Escapes are read as units, so that an escaped brace is no quantifier. A brace in a class counts as one.
_REPEAT = re.compile(r"\\(?P<escape>.)|\{\s*(?P<least>\d*)\s*(?:,\s*(?P<most>\d*)\s*)?\}", re.DOTALL)
_WHOLE_ESCAPES = re.compile(r"(?:[^\\]++|\\.)*+", re.DOTALL)
_REPEATED_GROUP = re.compile(r"\)\s*\{")
_COUNTS = frozenset(
    f"{side}{what}" for side in ("min", "max") for what in ("Items", "Length", "Properties", "Contains")
)
_SAME_PLACE = ("allOf", "anyOf", "oneOf")


def check_choices(choices: list[str], param: str) -> None:
    """Raise ApiError for choices that are too many or too long together."""
    if len(choices) > MAX_CHOICES:
        raise ArrayAboveMaxLength(param=param, bound=MAX_CHOICES, length=len(choices))
    total = sum(len(choice.encode("utf-8", "surrogatepass")) for choice in choices)
    if total > MAX_CHOICES_BYTES:
        raise InvalidValue(
            param=param, reason=f"the choices have {total} bytes together, {MAX_CHOICES_BYTES} are allowed"
        )


def check_pattern(pattern: str, param: str) -> int:
    """How often the pattern repeats at most, multiplied out. Raises ApiError if that is too often."""
    if len(pattern) > MAX_PATTERN_LENGTH:
        raise StringAboveMaxLength(param=param, bound=MAX_PATTERN_LENGTH, length=len(pattern))
    if not _WHOLE_ESCAPES.fullmatch(pattern):
        raise InvalidValue(param=param, reason="it ends in a backslash that escapes nothing")
    product = 1
    for match in _REPEAT.finditer(pattern):
        if match["escape"]:
            if match["escape"] in "pP":
                raise InvalidValue(param=param, reason="classes of Unicode properties are not supported")
            continue
        count = max(int(match["least"] or 0), int(match["most"] or 0))
        if count > MAX_REPEAT:
            raise InvalidValue(param=param, reason=f"a quantifier is above {MAX_REPEAT}")
        product *= max(count, 1)
    if product > MAX_REPEAT_PRODUCT:
        raise InvalidValue(
            param=param, reason=f"its quantifiers multiply to {product}, {MAX_REPEAT_PRODUCT} are allowed"
        )
    return product


def check_schema_text(schema: dict[str, Any] | str, param: str) -> None:
    """As check_schema, for a schema that may be JSON in a string."""
    if not isinstance(schema, str):
        check_schema(schema, param)
        return
    try:
        value = parse_body(schema.encode("utf-8", "surrogatepass"))
    except ApiError as error:
        raise InvalidValue(param=param, reason=f"the string is no JSON that is taken: {error.code}") from None
    if not isinstance(value, dict):
        raise InvalidValue(param=param, reason="expected an object in the string")
    check_schema(value, param)


def check_schema(schema: dict[str, Any], param: str) -> int:
    """The size of a JSON schema in bytes. Raises ApiError for the first thing that is too much in it."""
    text = json.dumps(schema, ensure_ascii=False, separators=(",", ":"))
    size = len(text.encode("utf-8", "surrogatepass"))
    if size > MAX_SCHEMA_BYTES:
        raise InvalidValue(param=param, reason=f"the schema has {size} bytes, {MAX_SCHEMA_BYTES} are allowed")
    counts = 0
    for nodes, (path, node) in enumerate(_nodes(schema, param), start=1):
        if nodes > MAX_SCHEMA_NODES:
            raise InvalidValue(
                param=param, reason=f"the schema has more than {MAX_SCHEMA_NODES} objects and arrays"
            )
        if isinstance(node, dict):
            counts += _check_node(node, path)
            if counts > MAX_COUNTS:
                raise InvalidValue(
                    param=param, reason=f"its counts and patterns sum up to more than {MAX_COUNTS}"
                )
    _check_references(schema, param)
    return size


def _nodes(schema: dict[str, Any], param: str) -> Iterator[tuple[str, dict[str, Any] | list[Any]]]:
    pending: list[tuple[str, Any, int]] = [(param, schema, 1)]
    while pending:
        path, node, depth = pending.pop()
        if isinstance(node, int | float) and abs(node) > MAX_NUMBER:
            raise InvalidValue(param=path, reason="the number is beyond 64 bits")
        if not isinstance(node, dict | list):
            continue
        if depth > MAX_SCHEMA_DEPTH:
            raise InvalidValue(
                param=param, reason=f"the schema is nested deeper than {MAX_SCHEMA_DEPTH} levels"
            )
        yield path, node
        if isinstance(node, dict):
            pending.extend((f"{path}.{key}", inner, depth + 1) for key, inner in node.items())
        else:
            pending.extend((f"{path}[{index}]", inner, depth + 1) for index, inner in enumerate(node))


def _check_node(node: dict[str, Any], path: str) -> int:
    """What the node adds to the schema's counts. Names of properties look like keywords, so types decide."""
    counts = 0
    enum = node.get("enum")
    if isinstance(enum, list) and len(enum) > MAX_ENUM:
        raise ArrayAboveMaxLength(param=f"{path}.enum", bound=MAX_ENUM, length=len(enum))
    for name in _COUNTS & node.keys():
        count = node[name]
        if isinstance(count, int | float):
            if count > MAX_COUNT:
                raise IntegerAboveMaxValue(
                    param=f"{path}.{name}",
                    sign="<=",
                    bound=MAX_COUNT,
                    value=printable(str(count)),
                )
            counts += max(int(count), 0)
    if isinstance(node.get("pattern"), str):
        counts += _check_inner_pattern(node["pattern"], f"{path}.pattern")
    if isinstance(node.get("patternProperties"), dict):
        for pattern in node["patternProperties"]:
            counts += _check_inner_pattern(pattern, f"{path}.patternProperties")
    return counts


def _check_inner_pattern(pattern: str, param: str) -> int:
    """What a pattern in a schema adds to the schema's counts."""
    product = check_pattern(pattern, param)
    if not _REPEATED_GROUP.search(pattern):
        return min(product, MAX_COUNT)
    if product > MAX_GROUP_PRODUCT:
        reason = (
            f"its quantifiers multiply to {product}, {MAX_GROUP_PRODUCT} are allowed with repeated groups"
        )
        raise InvalidValue(param=param, reason=reason)
    return product


def _check_references(schema: dict[str, Any], param: str) -> None:
    """Refuse references that lead nowhere, and those that lead back without describing anything."""
    ended: set[int] = set()
    for path, node in _nodes(schema, param):
        trail: list[int] = []
        _follow(node, path, schema, ended, trail)


def _follow(node: Any, path: str, schema: dict[str, Any], ended: set[int], trail: list[int]) -> None:
    if not isinstance(node, dict) or id(node) in ended:
        return
    # Longer than any way down a schema: it would end in a circle, or in Python's own limit.
    if id(node) in trail or len(trail) > MAX_SCHEMA_NODES // 4:
        raise InvalidValue(param=path, reason="the reference leads only to itself")
    trail.append(id(node))
    if isinstance(node.get("$ref"), str):
        _follow(_target(node["$ref"], f"{path}.$ref", schema), f"{path}.$ref", schema, ended, trail)
    for keyword in _SAME_PLACE:
        branches = node.get(keyword)
        for branch in branches if isinstance(branches, list) else ():
            _follow(branch, path, schema, ended, trail)
    trail.pop()
    ended.add(id(node))


def _target(reference: str, path: str, schema: dict[str, Any]) -> Any:
    if reference != "#" and not reference.startswith("#/"):
        raise InvalidValue(
            param=path, reason="expected a reference into the schema itself, as '#/$defs/name'"
        )
    found: Any = schema
    for step in reference.split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        if isinstance(found, list) and name.isdecimal() and len(name) < 4 and int(name) < len(found):
            found = found[int(name)]
        elif isinstance(found, dict) and name in found:
            found = found[name]
        else:
            raise InvalidValue(param=path, reason="the reference leads nowhere")
    return found
