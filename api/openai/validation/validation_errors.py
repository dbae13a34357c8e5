"""TenantSemaphore the first fault that pydantic found into an error in OpenAI's words."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from api.openai.errors import ApiError, printable
from api.openai.schemas.fields import LIST, TEXT
from api.openai.schemas.parameters import REFUSED_BELOW
from api.openai.schemas.refusals import UNSUPPORTED

_POSITION = re.compile(r"\[\d+\]")

# Of branches of unions: they are no steps of a path.
_TAGS = frozenset(
    {
        *(TEXT, LIST, "<tokens>", "<token lists>", "<object>", "<plain>", "<schema>"),
        *("<instruction>", "<user>", "<assistant>", "<tool>", "<unknown>", "<part>", "<refusal>"),
        *("<message>", "<call>", "<output>", "<reasoning>", "<item>", "<allowed>"),
    }
)

_EXPECTED = {
    "string_type": "a string",
    "int_type": "an integer",
    "int_from_float": "an integer",
    "float_type": "a decimal number",
    "bool_type": "a boolean",
    "list_type": "an array",
    "dict_type": "an object",
    "model_type": "an object",
    "model_attributes_type": "an object",
}

_BOUNDS = {
    "greater_than_equal": ("ge", ">=", "below_min"),
    "greater_than": ("gt", ">", "below_min"),
    "less_than_equal": ("le", "<=", "above_max"),
    "less_than": ("lt", "<", "above_max"),
}


def first_validation_error(error: ValidationError, refused: Mapping[str, str]) -> ApiError:
    """The error for the client. ``refused``: names with the reason for their refusal.

    Names below the top are paths without positions, as ``tools[].strict``.
    """
    fault = error.errors(include_url=False)[0]
    kind, given, context = fault["type"], fault["input"], fault.get("ctx", {})
    loc = fault["loc"]
    param = path_of(loc)
    if kind == "missing":
        return ApiError("missing_required_parameter", param=param)
    if kind == "extra_forbidden":
        return _unwanted(param, refused)
    if kind == "float_type" and isinstance(given, int) and not isinstance(given, bool):
        return _beyond_floats(param, given)
    if kind == UNSUPPORTED:
        return ApiError(
            "unsupported_value", param=param, value=printable(repr(given)), reason=context["reason"]
        )
    if kind in _EXPECTED:
        expected = "a string or an array" if loc[-1] == LIST else _EXPECTED[kind]
        return ApiError("invalid_type", param=param, expected=expected, found=_kind_of(given))
    if kind in _BOUNDS:
        return _out_of_bounds(kind, param, given, context)
    if kind in ("too_long", "too_short", "string_too_long", "string_too_short"):
        return _wrong_length(kind, param, given, context)
    return ApiError("invalid_value", param=param, reason=_reason(kind, given, context))


def path_of(loc: Sequence[int | str]) -> str:
    """``("messages", 2, "<user>", "content")`` as ``messages[2].content``."""
    path = ""
    for step in loc:
        if isinstance(step, int):
            path += f"[{step}]"
        elif step not in _TAGS:
            path += f".{step}" if path else step
    return path


def _unwanted(param: str, refused: Mapping[str, str]) -> ApiError:
    place = _POSITION.sub("[]", param)
    if reason := refused.get(place) or REFUSED_BELOW.get(place):
        return ApiError("unsupported_parameter", param=param, reason=reason)
    return ApiError("unknown_parameter", param=param)


def _out_of_bounds(kind: str, param: str, given: Any, context: Mapping[str, Any]) -> ApiError:
    key, sign, side = _BOUNDS[kind]
    bound = context[key]
    number = "decimal" if isinstance(bound, float) else "integer"
    return ApiError(
        f"{number}_{side}_value",
        param=param,
        sign=sign,
        bound=f"{bound:g}" if number == "decimal" else bound,
        value=printable(str(given)),
    )


def _beyond_floats(param: str, given: int) -> ApiError:
    """An integer with more digits than a decimal number can have: no bound was looked at yet."""
    side, sign = ("above_max", "<=") if given > 0 else ("below_min", ">=")
    bound = math.copysign(sys.float_info.max, given > 0 or -1)
    return ApiError(
        f"decimal_{side}_value", param=param, sign=sign, bound=f"{bound:g}", value=printable(str(given))
    )


def _wrong_length(kind: str, param: str, given: Any, context: Mapping[str, Any]) -> ApiError:
    bound = context["max_length"] if kind.endswith("long") else context["min_length"]
    if kind.startswith("string"):
        side = "above_max" if kind.endswith("long") else "below_min"
        return ApiError(f"string_{side}_length", param=param, bound=bound, length=len(given))
    if kind == "too_short":
        return ApiError("empty_array", param=param, bound=bound)
    code = "object_above_max_properties" if isinstance(given, dict) else "array_above_max_length"
    return ApiError(code, param=param, bound=bound, length=len(given))


def _reason(kind: str, given: Any, context: Mapping[str, Any]) -> str:
    if kind == "literal_error":
        return f"{printable(repr(given))} is not one of {context['expected']}"
    if kind == "string_pattern_mismatch":
        return f"{printable(repr(given))} does not match the pattern {context['pattern']}"
    if kind == "finite_number":
        return "the number must be finite"
    return "it is not allowed here"


def _kind_of(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    names = {
        str: "a string",
        int: "an integer",
        float: "a decimal number",
        list: "an array",
        dict: "an object",
    }
    return names[type(value)]
