"""Errors in a request body: in its JSON and in its parameters."""

from __future__ import annotations

from api.openai.errors.base import ApiError


class InvalidJson(
    ApiError,
    code="invalid_json",
    status=400,
    message="The request body could not be parsed as JSON: {reason}.",
    fix="Send one JSON object in UTF-8; numbers must be finite.",
):
    reason: str


class DuplicateKey(
    ApiError,
    code="duplicate_key",
    status=400,
    message="The request body contains the key '{key}' twice in one object.",
    fix="Send each key once.",
):
    key: str


class JsonTooDeep(
    ApiError,
    code="json_too_deep",
    status=400,
    message="The request body is nested deeper than {limit} levels.",
    fix="Flatten the structure.",
):
    limit: int


class JsonTooComplex(
    ApiError,
    code="json_too_complex",
    status=400,
    message="The request body contains more than {limit} {parts}.",
    fix="Split the request.",
):
    limit: int
    parts: str = "objects and arrays"


class MissingRequiredParameter(
    ApiError,
    code="missing_required_parameter",
    status=400,
    message="Missing required parameter: '{param}'.",
    fix="Add the parameter named in `param`.",
):
    param: str


class UnknownParameter(
    ApiError,
    code="unknown_parameter",
    status=400,
    message="Unknown parameter: '{param}'.{hint}",
    fix="Remove it, or check its spelling.",
):
    param: str
    hint: str = ""


class UnsupportedParameter(
    ApiError,
    code="unsupported_parameter",
    status=400,
    message="Unsupported parameter: '{param}' is not supported: {reason}.",
    fix="Remove it; the message names the alternative, if any.",
):
    param: str
    reason: str


class UnsupportedValue(
    ApiError,
    code="unsupported_value",
    status=400,
    message="Unsupported value: '{param}' does not support {value}: {reason}.",
    fix="Use a value that the message names, or omit the parameter.",
):
    param: str
    value: str
    reason: str


class InvalidType(
    ApiError,
    code="invalid_type",
    status=400,
    message="Invalid type for '{param}': expected {expected_type}, but got {actual_type} instead.",
    fix="Send the expected type.",
):
    param: str
    expected_type: str
    actual_type: str


class InvalidValue(
    ApiError,
    code="invalid_value",
    status=400,
    message="Invalid value for '{param}': {reason}.",
    fix="Send a value that meets the condition in the message.",
):
    param: str
    reason: str


class InvalidRequest(
    ApiError,
    code="invalid_request",
    status=400,
    message="Invalid request: {reason}.",
    fix="Correct the fault that the message names.",
):
    reason: str


class IntegerBelowMinValue(
    ApiError,
    code="integer_below_min_value",
    status=400,
    message="Invalid '{param}': integer below minimum value. Expected a value {sign} {bound}, but got "
    "{value}.",
    fix="Increase the value.",
):
    param: str
    sign: str
    bound: float | str
    value: float | str


class IntegerAboveMaxValue(
    ApiError,
    code="integer_above_max_value",
    status=400,
    message="Invalid '{param}': integer above maximum value. Expected a value {sign} {bound}, but got "
    "{value}.",
    fix="Decrease the value.",
):
    param: str
    sign: str
    bound: float | str
    value: float | str


class DecimalBelowMinValue(
    ApiError,
    code="decimal_below_min_value",
    status=400,
    message="Invalid '{param}': decimal below minimum value. Expected a value {sign} {bound}, but got "
    "{value}.",
    fix="Increase the value.",
):
    param: str
    sign: str
    bound: float | str
    value: float | str


class DecimalAboveMaxValue(
    ApiError,
    code="decimal_above_max_value",
    status=400,
    message="Invalid '{param}': decimal above maximum value. Expected a value {sign} {bound}, but got "
    "{value}.",
    fix="Decrease the value.",
):
    param: str
    sign: str
    bound: float | str
    value: float | str


class StringBelowMinLength(
    ApiError,
    code="string_below_min_length",
    status=400,
    message="Invalid '{param}': string too short. Expected at least {bound} characters, but got {length}.",
    fix="Send a longer string, or omit the parameter.",
):
    param: str
    bound: float | str
    length: int


class StringAboveMaxLength(
    ApiError,
    code="string_above_max_length",
    status=400,
    message="Invalid '{param}': string too long. Expected at most {bound} characters, but got {length}.",
    fix="Send a shorter string.",
):
    param: str
    bound: float | str
    length: int


class EmptyArray(
    ApiError,
    code="empty_array",
    status=400,
    message="Invalid '{param}': empty array. Expected at least {bound} elements.",
    fix="Add elements, or omit the parameter.",
):
    param: str
    bound: float | str


class ArrayAboveMaxLength(
    ApiError,
    code="array_above_max_length",
    status=400,
    message="Invalid '{param}': array too long. Expected at most {bound} elements, but got {length}.",
    fix="Send fewer elements.",
):
    param: str
    bound: float | str
    length: int


class ObjectAboveMaxProperties(
    ApiError,
    code="object_above_max_properties",
    status=400,
    message="Invalid '{param}': too many properties. Expected at most {bound}, but got {length}.",
    fix="Send fewer properties.",
):
    param: str
    bound: float | str
    length: int


class ContextLengthExceeded(
    ApiError,
    code="context_length_exceeded",
    status=400,
    message="This model's maximum context length is {limit} tokens. However, {explanation}.",
    fix="Shorten the prompt or lower `max_completion_tokens`; together they must fit the context.",
):
    limit: int
    explanation: str


class ResponseTooLarge(
    ApiError,
    code="answer_too_large",
    status=400,
    message="The response has {size} bytes, above the limit of {limit} for responses that are not streamed.",
    fix="Request fewer inputs, choices or log probabilities; use a stream, or base64 for embeddings.",
):
    size: int
    limit: int
