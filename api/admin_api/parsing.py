"""Bodies and query parameters: strict JSON and closed schemas, with errors from the catalogue."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from typing import IO, Any, TypeVar
from urllib.parse import parse_qsl

from pydantic import BaseModel, ValidationError
from rest_framework.parsers import BaseParser

from api.openai.errors.access import UnsupportedMediaType
from api.openai.errors.base import ApiError, printable
from api.openai.errors.parameters import InvalidRequest, InvalidType, InvalidValue, UnknownParameter
from api.openai.validation.json_body import parse_body
from api.openai.validation.validation_errors import first_validation_error, path_of

Model = TypeVar("Model", bound=BaseModel)
MAX_PARAMETERS = 32
_NUL = re.compile("\0")


class StrictJsonParser(BaseParser):
    """JSON as the public API parses it."""

    media_type = "application/json"

    def parse(
        self,
        stream: IO[Any],
        media_type: str | None = None,  # noqa: ARG002 - REST framework's interface
        parser_context: Any = None,
    ) -> Any:
        """Return the value. Raises ApiError."""
        request = (parser_context or {}).get("request")
        if request is not None and request.headers.get("content-encoding", "identity") != "identity":
            raise UnsupportedMediaType()
        return parse_body(stream.read())


def body_values(model: type[Model], data: object) -> Model:
    """Return a body as ``model``. Raises ApiError for the first fault."""
    if not isinstance(data, dict):
        raise InvalidType(param="body", expected_type="an object", actual_type="another value")
    _refuse_nul(data)
    return _validate(model, data)


def query_values(model: type[Model], query_string: str) -> Model:
    """Return query parameters as ``model``. Raises ApiError for the first fault."""
    try:
        pairs = parse_qsl(query_string, keep_blank_values=True, max_num_fields=MAX_PARAMETERS)
    except ValueError:
        raise InvalidRequest(reason="the URL has too many query parameters") from None
    values: dict[str, str] = {}
    for name, value in pairs:
        if name in values:
            raise InvalidValue(param=name, reason="it occurs more than once")
        values[name] = value
    _refuse_nul(values)
    return _validate(model, values)


def _validate(model: type[Model], values: dict[str, Any]) -> Model:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise _translated(error, model) from None


def _translated(error: ValidationError, model: type[BaseModel]) -> ApiError:
    fault = error.errors(include_url=False)[0]
    if fault["type"] == "extra_forbidden":
        return _unknown_parameter(model, [str(step) for step in fault["loc"]])
    if fault["type"] in _EXPLAINED:
        param = path_of(fault["loc"])
        reason = fault["msg"].removeprefix("Value error, ").removesuffix(".")
        return InvalidValue(param=param, reason=printable(reason[:1].lower() + reason[1:]))
    return first_validation_error(error)


def _unknown_parameter(model: type[BaseModel], steps: Sequence[str]) -> UnknownParameter:
    """Return the error for an unknown parameter, with the most similar known one of the same object."""
    *parents, name = steps
    kind: Any = model
    for parent in parents:
        kind = kind.model_fields[parent].annotation
    matches = difflib.get_close_matches(name, [*kind.model_fields], n=1)
    hint = f" Did you mean '{'.'.join([*parents, matches[0]])}'?" if matches else ""
    return UnknownParameter(param=".".join(steps), hint=hint)


# Faults whose text from pydantic says what is expected.
_EXPLAINED = frozenset(
    {
        *("value_error", "int_parsing", "int_parsing_size", "bool_parsing", "float_parsing", "enum"),
        *("uuid_parsing", "timezone_aware", "datetime_parsing", "datetime_from_date_parsing"),
        *("datetime_type", "uuid_type"),
    }
)


def _refuse_nul(value: object, param: str = "") -> None:
    """Refuse NUL characters, which Postgres can't store in text."""
    if isinstance(value, str) and _NUL.search(value):
        raise InvalidValue(param=param or "body", reason="it contains a NUL character")
    if isinstance(value, dict):
        for name, part in value.items():
            _refuse_nul(name, printable(name.replace("\0", "")))
            _refuse_nul(part, f"{param}.{name}" if param else name)
    elif isinstance(value, list):
        for number, part in enumerate(value):
            _refuse_nul(part, f"{param}[{number}]")
