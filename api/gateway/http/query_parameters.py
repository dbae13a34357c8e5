"""Parameters in the address: strictly those that the route names, each once."""

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

MOST_DIGITS = 15
MOST_FIELDS = 32


def query_of(exchange: Exchange) -> dict[str, str]:
    """The parameters by name. Raises ApiError for unknown and repeated ones."""
    known = (exchange.route.query if exchange.route is not None else None) or ()
    found: dict[str, str] = {}
    try:
        pairs = parse_qsl(
            exchange.query.decode("latin-1"), keep_blank_values=True, max_num_fields=MOST_FIELDS
        )
    except ValueError:
        raise InvalidRequest(reason="the address has too many parameters") from None
    for name, value in pairs:
        if name not in known:
            raise UnknownParameter(param=name)
        if name in found:
            raise InvalidValue(param=name, reason="it is there twice")
        found[name] = value
    return found


def number_of(name: str, text: str, *, least: int = 0, most: int | None = None) -> int:
    """The decimal integer in ``text``. Raises ApiError."""
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) <= MOST_DIGITS):
        raise InvalidType(param=name, expected="an integer", found="a string")
    value = int(text)
    if value < least:
        raise IntegerBelowMinValue(param=name, sign=">=", bound=least, value=value)
    if most is not None and value > most:
        raise IntegerAboveMaxValue(param=name, sign="<=", bound=most, value=value)
    return value


def flag_of(query: Mapping[str, str], name: str) -> bool:
    """A parameter that is ``true`` or ``false``, which is what it is if it is absent. Raises ApiError."""
    text = query.get(name, "false")
    if text not in ("true", "false"):
        raise InvalidValue(param=name, reason="expected true or false")
    return text == "true"
