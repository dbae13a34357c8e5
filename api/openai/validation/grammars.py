"""Bounds on the constraints that a request may ask an engine to compile.

Engines compile constraints in a few threads and can't interrupt a compilation. Workers that run their own
engine try each constraint first (inference_worker/runtime/constraints/grammar_guard.py). These bounds reject
obvious cases without a trial, and are the only protection of remote engines.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
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
from api.openai.validation.json_schema_nodes import Path, nested_values, schema_nodes

MAX_CHOICES = 128
MAX_CHOICES_BYTES = 8192
MAX_PATTERN_LENGTH = 512
MAX_REPEAT = 256
MAX_REPEAT_PRODUCT = 10_000
MAX_GROUP_PRODUCT = 1000  # in a schema, where repeated groups compile far more slowly than alone
# OpenAI's three limits. The first also applies to all compiled tools of a request together.
MAX_SCHEMA_CHARACTERS = 120_000
MAX_ENUM_VALUES = 1000
MAX_PROPERTIES = 5000
MAX_SCHEMA_DEPTH = 32  # in schemas; OpenAI's limit is 10
MAX_REFERENCE_STEPS = 250
MAX_COUNT = 1000
MAX_NUMBER = 2**63 - 1

# Matches escapes as units, so that an escaped brace is not a quantifier. A brace in a class counts as one.
_REPEAT = re.compile(r"\\(?P<escape>.)|\{\s*(?P<min>\d*)\s*(?:,\s*(?P<max>\d*)\s*)?\}", re.DOTALL)
_COMPLETE_ESCAPES = re.compile(r"(?:[^\\]++|\\.)*+", re.DOTALL)
_REPEATED_GROUP = re.compile(r"\)\s*\{")
CHARACTERS, ENUM_VALUES, PROPERTIES = "characters in names and enum values", "enum values", "properties"
SCHEMAS, COUNTS = "schemas", "in the sum of its counts and patterns"
SCHEMA_LIMITS: Mapping[str, tuple[int, str]] = {
    CHARACTERS: (MAX_SCHEMA_CHARACTERS, "shorten the names and values, or move some to descriptions"),
    ENUM_VALUES: (MAX_ENUM_VALUES, "use a string with a description of the values"),
    PROPERTIES: (MAX_PROPERTIES, "split the object over several requests"),
    SCHEMAS: (20_000, "split it over several requests"),
    COUNTS: (20_000, "lower the bounds, or remove some"),
}
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
    """Return the characters of a JSON schema that count towards its limit.

    Raises ApiError for the first bound that it exceeds. These count: names of properties and definitions,
    and the values of ``enum`` and ``const``. Descriptions, defaults and examples are data without a bound.
    """
    _check_numbers(schema, param)
    totals: Counter[str] = Counter()
    nodes: list[tuple[Path, dict[str, Any]]] = []
    for path, node, depth in schema_nodes(schema, param):
        if depth > MAX_SCHEMA_DEPTH:
            raise _above_limit(param, f"is nested {depth} levels deep", MAX_SCHEMA_DEPTH, "flatten it")
        totals += _node_totals(node, path)
        nodes.append((path, node))
        for unit, (limit, remedy) in SCHEMA_LIMITS.items():
            if totals[unit] > limit:
                raise _above_limit(param, f"has {totals[unit]} {unit}", limit, remedy)
    check_references(schema, nodes, MAX_REFERENCE_STEPS)
    return totals[CHARACTERS]


def _above_limit(param: str, size: str, limit: int, remedy: str) -> ApiError:
    return InvalidValue(param=param, reason=f"the schema {size}, above the limit of {limit}; {remedy}")


def _check_numbers(schema: dict[str, Any], param: str) -> None:
    """Raise ApiError for numbers outside 64 bits, which the engine's parser can't read, in data as well."""
    for path, value in nested_values(schema, param):
        if isinstance(value, int | float) and abs(value) > MAX_NUMBER:
            raise InvalidValue(param=str(path), reason="the number does not fit into 64 bits")


def _node_totals(node: dict[str, Any], path: Path) -> Counter[str]:
    """Return what one schema adds to each of the totals in SCHEMA_LIMITS."""
    totals = Counter({SCHEMAS: 1})
    for keyword in ("properties", "$defs", "definitions"):
        if isinstance(names := node.get(keyword), dict):
            totals[CHARACTERS] += sum(map(len, names))
            totals[PROPERTIES] += len(names) if keyword == "properties" else 0
    enum = node.get("enum")
    values = [*(enum if isinstance(enum, list) else ()), *([node["const"]] if "const" in node else ())]
    totals[CHARACTERS] += sum(len(value if isinstance(value, str) else json.dumps(value)) for value in values)
    totals[ENUM_VALUES] += len(enum) if isinstance(enum, list) else 0
    totals[COUNTS] += sum(
        _check_count(node[name], f"{path}.{name}") for name in _COUNT_KEYWORDS & node.keys()
    )
    if isinstance(node.get("pattern"), str):
        totals[COUNTS] += _check_inner_pattern(node["pattern"], f"{path}.pattern")
    if isinstance(node.get("patternProperties"), dict):
        for pattern in node["patternProperties"]:
            totals[COUNTS] += _check_inner_pattern(pattern, f"{path}.patternProperties")
    return totals


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
