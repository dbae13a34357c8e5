"""Bounds on the constraints that a request may ask an engine to compile.

Engines compile constraints in a few threads and can't interrupt a compilation. Workers that run their own
engine try each constraint first (inference_worker/runtime/constraints/grammar_guard.py). These bounds reject
obvious cases without a trial, and are the only protection of remote engines.
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
from api.openai.validation.json_references import check_references

MAX_CHOICES = 128
MAX_CHOICES_BYTES = 8192
MAX_PATTERN_LENGTH = 512
MAX_REPEAT = 256
MAX_REPEAT_PRODUCT = 10_000
MAX_GROUP_PRODUCT = 1000  # in a schema, where repeated groups compile far more slowly than alone
MAX_SCHEMA_BYTES = 16_384
MAX_SCHEMAS_BYTES = 131_072  # of all tools of a request together
MAX_SCHEMA_NODES = 1000
MAX_SCHEMA_DEPTH = 32
MAX_ENUM = 500
MAX_COUNT = 1000
MAX_COUNTS = 20_000  # sum over a schema
MAX_NUMBER = 2**63 - 1

# Matches escapes as units, so that an escaped brace is not a quantifier. A brace in a class counts as one.
_REPEAT = re.compile(r"\\(?P<escape>.)|\{\s*(?P<min>\d*)\s*(?:,\s*(?P<max>\d*)\s*)?\}", re.DOTALL)
_COMPLETE_ESCAPES = re.compile(r"(?:[^\\]++|\\.)*+", re.DOTALL)
_REPEATED_GROUP = re.compile(r"\)\s*\{")
_COUNT_KEYWORDS = frozenset(
    f"{bound}{unit}" for bound in ("min", "max") for unit in ("Items", "Length", "Properties", "Contains")
)


def check_choices(choices: list[str], param: str) -> None:
    """Raise ApiError if there are too many choices, or their total size is too large."""
    if len(choices) > MAX_CHOICES:
        raise ArrayAboveMaxLength(param=param, bound=MAX_CHOICES, length=len(choices))
    total = sum(len(choice.encode("utf-8", "surrogatepass")) for choice in choices)
    if total > MAX_CHOICES_BYTES:
        raise InvalidValue(
            param=param,
            reason=f"the choices have {total} bytes in total, above the limit of {MAX_CHOICES_BYTES}",
        )


def check_pattern(pattern: str, param: str) -> int:
    """Return the product of the pattern's quantifiers. Raises ApiError if it is too large."""
    if len(pattern) > MAX_PATTERN_LENGTH:
        raise StringAboveMaxLength(param=param, bound=MAX_PATTERN_LENGTH, length=len(pattern))
    if not _COMPLETE_ESCAPES.fullmatch(pattern):
        raise InvalidValue(param=param, reason="it ends with an incomplete escape")
    product = 1
    for match in _REPEAT.finditer(pattern):
        product *= _repeat_count(match, param)
    if product > MAX_REPEAT_PRODUCT:
        raise InvalidValue(
            param=param,
            reason=f"the product of its quantifiers is {product}, above the limit of {MAX_REPEAT_PRODUCT}",
        )
    return product


def _repeat_count(match: re.Match[str], param: str) -> int:
    if match["escape"]:
        if match["escape"] in "pP":
            raise InvalidValue(param=param, reason="classes of Unicode properties are not supported")
        return 1
    count = max(int(match["min"] or 0), int(match["max"] or 0))
    if count > MAX_REPEAT:
        raise InvalidValue(param=param, reason=f"a quantifier is above {MAX_REPEAT}")
    return max(count, 1)


def check_schema_text(schema: dict[str, Any] | str, param: str) -> None:
    """Check a schema that may be a string of JSON. Raises ApiError like ``check_schema``."""
    if not isinstance(schema, str):
        check_schema(schema, param)
        return
    try:
        value = parse_body(schema.encode("utf-8", "surrogatepass"))
    except ApiError as error:
        raise InvalidValue(param=param, reason=f"the string is not acceptable JSON: {error.code}") from None
    if not isinstance(value, dict):
        raise InvalidValue(param=param, reason="expected a JSON object in the string")
    check_schema(value, param)


def check_schema(schema: dict[str, Any], param: str) -> int:
    """Return the size of a JSON schema in bytes. Raises ApiError for the first bound that it exceeds."""
    text = json.dumps(schema, ensure_ascii=False, separators=(",", ":"))
    size = len(text.encode("utf-8", "surrogatepass"))
    if size > MAX_SCHEMA_BYTES:
        raise InvalidValue(
            param=param, reason=f"the schema has {size} bytes, above the limit of {MAX_SCHEMA_BYTES}"
        )
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
                    param=param, reason=f"the sum of its counts and patterns is above {MAX_COUNTS}"
                )
    check_references(schema, _nodes(schema, param), MAX_SCHEMA_NODES // 4)
    return size


def _nodes(schema: dict[str, Any], param: str) -> Iterator[tuple[str, dict[str, Any] | list[Any]]]:
    pending: list[tuple[str, Any, int]] = [(param, schema, 1)]
    while pending:
        path, node, depth = pending.pop()
        if isinstance(node, int | float) and abs(node) > MAX_NUMBER:
            raise InvalidValue(param=path, reason="the number does not fit into 64 bits")
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
    """Return the node's contribution to the schema's counts.

    A property may have the name of a keyword, so a value counts only if it has the keyword's type.
    """
    enum = node.get("enum")
    if isinstance(enum, list) and len(enum) > MAX_ENUM:
        raise ArrayAboveMaxLength(param=f"{path}.enum", bound=MAX_ENUM, length=len(enum))
    counts = sum(_check_count(node[name], f"{path}.{name}") for name in _COUNT_KEYWORDS & node.keys())
    if isinstance(node.get("pattern"), str):
        counts += _check_inner_pattern(node["pattern"], f"{path}.pattern")
    if isinstance(node.get("patternProperties"), dict):
        for pattern in node["patternProperties"]:
            counts += _check_inner_pattern(pattern, f"{path}.patternProperties")
    return counts


def _check_count(count: Any, path: str) -> int:
    if not isinstance(count, int | float):
        return 0
    if count > MAX_COUNT:
        raise IntegerAboveMaxValue(param=path, sign="<=", bound=MAX_COUNT, value=printable(str(count)))
    return max(int(count), 0)


def _check_inner_pattern(pattern: str, param: str) -> int:
    """Return the contribution of a pattern in a schema to the schema's counts."""
    product = check_pattern(pattern, param)
    if not _REPEATED_GROUP.search(pattern):
        return min(product, MAX_COUNT)
    if product > MAX_GROUP_PRODUCT:
        reason = (
            f"the product of its quantifiers is {product}, "
            f"above the limit of {MAX_GROUP_PRODUCT} for patterns with repeated groups"
        )
        raise InvalidValue(param=param, reason=reason)
    return product
