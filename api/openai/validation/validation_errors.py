"""TenantSemaphore the first fault that pydantic found into an error in OpenAI's words."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from api.openai.errors.base import ApiError, printable
from api.openai.errors.parameters import (
    ArrayAboveMaxLength,
    DecimalAboveMaxValue,
    DecimalBelowMinValue,
    EmptyArray,
    IntegerAboveMaxValue,
    IntegerBelowMinValue,
    InvalidType,
    InvalidValue,
    MissingRequiredParameter,
    ObjectAboveMaxProperties,
    StringAboveMaxLength,
    StringBelowMinLength,
    UnknownParameter,
    UnsupportedParameter,
    UnsupportedValue,
)
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

_BoundError = (
    type[IntegerBelowMinValue]
    | type[IntegerAboveMaxValue]
    | type[DecimalBelowMinValue]
    | type[DecimalAboveMaxValue]
)
# By pydantic's error type: where its context has the bound, the sign, the errors for integers and decimals.
_BOUNDS: Mapping[str, tuple[str, str, _BoundError, _BoundError]] = {
    "greater_than_equal": ("ge", ">=", IntegerBelowMinValue, DecimalBelowMinValue),
    "greater_than": ("gt", ">", IntegerBelowMinValue, DecimalBelowMinValue),
    "less_than_equal": ("le", "<=", IntegerAboveMaxValue, DecimalAboveMaxValue),
    "less_than": ("lt", "<", IntegerAboveMaxValue, DecimalAboveMaxValue),
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
        return MissingRequiredParameter(param=param)
    if kind == "extra_forbidden":
        return _unwanted(param, refused)
    if kind == "float_type" and isinstance(given, int) and not isinstance(given, bool):
        return _beyond_floats(param, given)
    if kind == UNSUPPORTED:
        return UnsupportedValue(param=param, value=printable(repr(given)), reason=context["reason"])
    if kind in _EXPECTED:
        expected = "a string or an array" if loc[-1] == LIST else _EXPECTED[kind]
        return InvalidType(param=param, expected=expected, found=_kind_of(given))
    if kind in _BOUNDS:
        return _out_of_bounds(kind, param, given, context)
    if kind in ("too_long", "too_short", "string_too_long", "string_too_short"):
        return _wrong_length(kind, param, given, context)
    return InvalidValue(param=param, reason=_reason(kind, given, context))


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
        return UnsupportedParameter(param=param, reason=reason)
    return UnknownParameter(param=param)


def _out_of_bounds(kind: str, param: str, given: Any, context: Mapping[str, Any]) -> ApiError:
    key, sign, integer_error, decimal_error = _BOUNDS[kind]
    bound, value = context[key], printable(str(given))
    if isinstance(bound, float):
        return decimal_error(param=param, sign=sign, bound=f"{bound:g}", value=value)
    return integer_error(param=param, sign=sign, bound=bound, value=value)


def _beyond_floats(param: str, given: int) -> ApiError:
    """An integer with more digits than a decimal number can have: no bound was looked at yet."""
    value = printable(str(given))
    if given > 0:
        return DecimalAboveMaxValue(param=param, sign="<=", bound=f"{sys.float_info.max:g}", value=value)
    return DecimalBelowMinValue(param=param, sign=">=", bound=f"{-sys.float_info.max:g}", value=value)


def _wrong_length(kind: str, param: str, given: Any, context: Mapping[str, Any]) -> ApiError:
    bound = context["max_length"] if kind.endswith("long") else context["min_length"]
    if kind == "string_too_long":
        return StringAboveMaxLength(param=param, bound=bound, length=len(given))
    if kind == "string_too_short":
        return StringBelowMinLength(param=param, bound=bound, length=len(given))
    if kind == "too_short":
        return EmptyArray(param=param, bound=bound)
    if isinstance(given, dict):
        return ObjectAboveMaxProperties(param=param, bound=bound, length=len(given))
    return ArrayAboveMaxLength(param=param, bound=bound, length=len(given))


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
