"""Translation of pydantic's first validation error to an error in OpenAI's format."""

from __future__ import annotations

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
from api.openai.schemas.fields import AUTO, LIST, NUMBER, TEXT
from api.openai.schemas.policies import REFUSED
from api.openai.schemas.unsupported_values import UNSUPPORTED_VALUE

# Tags of union branches, which are not steps of a path.
_TAGS = frozenset(
    {
        *(TEXT, LIST, "<tokens>", "<token lists>", "<object>", "<plain>", "<schema>", "<function>"),
        *("<instruction>", "<user>", "<assistant>", "<tool>", "<unknown>", "<part>", "<refusal>"),
        *("<message>", "<call>", "<output>", "<reasoning>", "<item>", "<allowed>", "<custom>"),
        *(
            "<custom output>",
            "<local>",
            "<local output>",
            "<remote>",
            "<reference>",
            "<namespace>",
            "<compaction>",
        ),
        *("<built-in>", AUTO, NUMBER),
    }
)

_EXPECTED_TYPES = {
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
_TYPE_NAMES: Mapping[type, str] = {
    type(None): "null",
    bool: "a boolean",
    str: "a string",
    int: "an integer",
    float: "a decimal number",
    list: "an array",
    dict: "an object",
}

_NO_NUMBER = "expected a number or 'auto'"

_BoundError = (
    type[IntegerBelowMinValue]
    | type[IntegerAboveMaxValue]
    | type[DecimalBelowMinValue]
    | type[DecimalAboveMaxValue]
)
# By pydantic's error type: the context's key of the bound, the sign, the errors for integers and decimals.
_BOUNDS: Mapping[str, tuple[str, str, _BoundError, _BoundError]] = {
    "greater_than_equal": ("ge", ">=", IntegerBelowMinValue, DecimalBelowMinValue),
    "greater_than": ("gt", ">", IntegerBelowMinValue, DecimalBelowMinValue),
    "less_than_equal": ("le", "<=", IntegerAboveMaxValue, DecimalAboveMaxValue),
    "less_than": ("lt", "<", IntegerAboveMaxValue, DecimalAboveMaxValue),
}


def first_validation_error(error: ValidationError) -> ApiError:
    """Return the error for the client. A null parameter counts as missing."""
    fault = error.errors(include_url=False)[0]
    kind, value, context = fault["type"], fault["input"], fault.get("ctx", {})
    loc = fault["loc"]
    param = path_of(loc)
    if kind == "missing" or (value is None and _is_parameter(loc) and kind != "extra_forbidden"):
        return MissingRequiredParameter(param=param)
    if kind == "extra_forbidden":
        return UnknownParameter(param=param)
    if kind == REFUSED:
        return UnsupportedParameter(param=param, reason=context["reason"])
    if kind == "float_type" and isinstance(value, int) and not isinstance(value, bool):
        return _beyond_float_range(param, value)
    if kind == UNSUPPORTED_VALUE:
        return UnsupportedValue(param=param, value=printable(repr(value)), reason=context["reason"])
    if kind in _EXPECTED_TYPES:
        return InvalidType(
            param=param, expected_type=_expected_type(kind, loc), actual_type=_TYPE_NAMES[type(value)]
        )
    if kind in _BOUNDS:
        return _out_of_bounds(kind, param, value, context)
    if kind in ("too_long", "too_short", "string_too_long", "string_too_short"):
        return _wrong_length(kind, param, value, context)
    reason = _NO_NUMBER if loc[-1:] == (AUTO,) else _reason(kind, value, context)
    return InvalidValue(param=param, reason=reason)


def path_of(loc: Sequence[int | str]) -> str:
    """Return the path of a location: ``("messages", 2, "<user>", "content")`` is ``messages[2].content``."""
    path = ""
    for step in loc:
        if isinstance(step, int):
            path += f"[{step}]"
        elif step not in _TAGS:
            path += f".{step}" if path else step
    return path


def _is_parameter(loc: Sequence[int | str]) -> bool:
    return len([step for step in loc if step not in _TAGS]) == 1


def _expected_type(kind: str, loc: Sequence[int | str]) -> str:
    if loc[-1] == LIST:
        return "a string or an array"
    return _EXPECTED_TYPES[kind] + (" or 'auto'" if loc[-1] == NUMBER else "")


def _out_of_bounds(kind: str, param: str, value: Any, context: Mapping[str, Any]) -> ApiError:
    key, sign, integer_error, decimal_error = _BOUNDS[kind]
    bound, text = context[key], printable(str(value))
    if isinstance(bound, float):
        return decimal_error(param=param, sign=sign, bound=f"{bound:g}", value=text)
    return integer_error(param=param, sign=sign, bound=bound, value=text)


def _beyond_float_range(param: str, value: int) -> ApiError:
    """Return the error for an integer that no float can represent: pydantic checked no bound yet."""
    text = printable(str(value))
    if value > 0:
        return DecimalAboveMaxValue(param=param, sign="<=", bound=f"{sys.float_info.max:g}", value=text)
    return DecimalBelowMinValue(param=param, sign=">=", bound=f"{-sys.float_info.max:g}", value=text)


def _wrong_length(kind: str, param: str, value: Any, context: Mapping[str, Any]) -> ApiError:
    bound = context["max_length"] if kind.endswith("long") else context["min_length"]
    if kind == "string_too_long":
        return StringAboveMaxLength(param=param, bound=bound, length=len(value))
    if kind == "string_too_short":
        return StringBelowMinLength(param=param, bound=bound, length=len(value))
    if kind == "too_short":
        return EmptyArray(param=param, bound=bound)
    if isinstance(value, dict):
        return ObjectAboveMaxProperties(param=param, bound=bound, length=len(value))
    return ArrayAboveMaxLength(param=param, bound=bound, length=len(value))


def _reason(kind: str, value: Any, context: Mapping[str, Any]) -> str:
    if kind == "literal_error":
        return f"{printable(repr(value))} is not one of {context['expected']}"
    if kind == "string_pattern_mismatch":
        return f"{printable(repr(value))} does not match the pattern {context['pattern']}"
    if kind == "finite_number":
        return "the number must be finite"
    return "it is not allowed here"
