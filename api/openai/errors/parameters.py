"""Errors in a request body: its JSON, and its parameters."""

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
    message="The request body has the key '{key}' twice in one object.",
    fix="Send every key once: which of two values is meant can't be known.",
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
    message="The request body has more than {limit} objects and arrays.",
    fix="Split the request.",
):
    limit: int


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
    message="Unknown parameter: '{param}'.",
    fix="Remove it, or check its spelling.",
):
    param: str


class UnsupportedParameter(
    ApiError,
    code="unsupported_parameter",
    status=400,
    message="Unsupported parameter: '{param}' is not supported here: {reason}.",
    fix="Remove it; the message says what there is instead.",
):
    param: str
    reason: str


class UnsupportedValue(
    ApiError,
    code="unsupported_value",
    status=400,
    message="Unsupported value: '{param}' does not support {value} here: {reason}.",
    fix="Use a value that the message names, or leave the parameter out.",
):
    param: str
    value: str
    reason: str


class InvalidType(
    ApiError,
    code="invalid_type",
    status=400,
    message="Invalid type for '{param}': expected {expected}, but got {found} instead.",
    fix="Send the type that the message names.",
):
    param: str
    expected: str
    found: str


class InvalidValue(
    ApiError,
    code="invalid_value",
    status=400,
    message="Invalid value for '{param}': {reason}.",
    fix="Send a value that the message allows.",
):
    param: str
    reason: str


class InvalidRequest(
    ApiError,
    code="invalid_request",
    status=400,
    message="Invalid request: {reason}.",
    fix="Change what the message names.",
):
    reason: str


class IntegerBelowMinValue(
    ApiError,
    code="integer_below_min_value",
    status=400,
    message="Invalid '{param}': integer below minimum value. Expected a value {sign} {bound}, but got "
    "{value}.",
    fix="Raise the value.",
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
    fix="Lower the value.",
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
    fix="Raise the value.",
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
    fix="Lower the value.",
):
    param: str
    sign: str
    bound: float | str
    value: float | str


class StringBelowMinLength(
    ApiError,
    code="string_below_min_length",
    status=400,
    message="Invalid '{param}': string too short. Expected {bound} characters or more, but got {length}.",
    fix="Send a longer string, or leave the parameter out.",
):
    param: str
    bound: float | str
    length: int


class StringAboveMaxLength(
    ApiError,
    code="string_above_max_length",
    status=400,
    message="Invalid '{param}': string too long. Expected {bound} characters at most, but got {length}.",
    fix="Send a shorter string.",
):
    param: str
    bound: float | str
    length: int


class EmptyArray(
    ApiError,
    code="empty_array",
    status=400,
    message="Invalid '{param}': empty array. Expected {bound} elements or more.",
    fix="Add elements, or leave the parameter out.",
):
    param: str
    bound: float | str


class ArrayAboveMaxLength(
    ApiError,
    code="array_above_max_length",
    status=400,
    message="Invalid '{param}': array too long. Expected {bound} elements at most, but got {length}.",
    fix="Send fewer elements.",
):
    param: str
    bound: float | str
    length: int


class ObjectAboveMaxProperties(
    ApiError,
    code="object_above_max_properties",
    status=400,
    message="Invalid '{param}': too many properties. Expected {bound} at most, but got {length}.",
    fix="Send fewer properties.",
):
    param: str
    bound: float | str
    length: int


class ContextLengthExceeded(
    ApiError,
    code="context_length_exceeded",
    status=400,
    message="This model's maximum context length is {limit} tokens. However, {found}.",
    fix="Shorten what is sent, or lower `max_completion_tokens`: both together have to fit.",
):
    limit: int | str
    found: str


class AnswerTooLarge(
    ApiError,
    code="answer_too_large",
    status=400,
    message="The answer has {size} bytes. It may have {limit} at most where it is not streamed.",
    fix="Ask for less at once: fewer inputs, choices or log probabilities. Stream; have vectors in base64.",
):
    size: int
    limit: int


class UnsupportedModel(
    ApiError,
    code="unsupported_model",
    status=400,
    message="This is not {kind} model and thus not supported in the {endpoint} endpoint. Supported: "
    "{others}.",
    fix="Use one of the endpoints that the message names, or a model that is made for this one.",
):
    kind: str
    endpoint: str
    others: str


class ModelNotFound(
    ApiError,
    code="model_not_found",
    status=404,
    message="The model '{model}' does not exist or you do not have access to it.",
    fix="List the models of this key with `GET /v1/models`.",
):
    model: str
