"""Query parameters: exactly those that the route declares, each at most once."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import parse_qsl

from api.gateway.http.exchange import Exchange
from api.openai.errors.parameters import (
    IntegerAboveMaxValue,
    IntegerBelowMinValue,
    InvalidRequest,
    InvalidType,
    InvalidValue,
    UnknownParameter,
)

MAX_DIGITS = 15
MAX_PARAMETERS = 32


def parse_query(exchange: Exchange) -> dict[str, str]:
    """Return the query parameters by name. Raises ApiError for unknown and repeated ones."""
    allowed_names = (exchange.route.query if exchange.route is not None else None) or ()
    query = exchange.query.decode("latin-1")
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=MAX_PARAMETERS)
    except ValueError:
        raise InvalidRequest(reason="the URL has too many query parameters") from None
    parameters: dict[str, str] = {}
    for name, value in pairs:
        if name not in allowed_names:
            raise UnknownParameter(param=name)
        if name in parameters:
            raise InvalidValue(param=name, reason="it occurs more than once")
        parameters[name] = value
    return parameters


def parse_integer(name: str, text: str, *, minimum: int = 0, maximum: int | None = None) -> int:
    """Return the decimal integer in ``text``. Raises ApiError."""
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) <= MAX_DIGITS):
        raise InvalidType(param=name, expected_type="an integer", actual_type="a string")
    value = int(text)
    if value < minimum:
        raise IntegerBelowMinValue(param=name, sign=">=", bound=minimum, value=value)
    if maximum is not None and value > maximum:
        raise IntegerAboveMaxValue(param=name, sign="<=", bound=maximum, value=value)
    return value


def parse_flag(query: Mapping[str, str], name: str) -> bool:
    """Return a parameter that is ``true`` or ``false``, by default false. Raises ApiError."""
    text = query.get(name, "false")
    if text not in ("true", "false"):
        raise InvalidValue(param=name, reason="expected true or false")
    return text == "true"
