"""Query parameters: exactly those that the route declares, with the values that their JSON schemas allow."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any
from urllib.parse import parse_qsl

from api.gateway.http.azure_paths import API_VERSION
from api.gateway.http.url_table import QueryParameters
from api.openai.errors.base import printable
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
FLAGS: Mapping[str, bool] = {"true": True, "false": False}
_MAP_ENTRY = re.compile(r"(\w+)\[(.*)\]", re.DOTALL)
_LIST_SUFFIX = re.compile(r"\[\d{0,3}\]$")  # clients write a list as name=, name[]= or name[0]=


class Query(dict[str, Any]):
    """The parameters that were sent. ``query[name]`` of any other is its default, or None."""

    def __init__(self, schemas: QueryParameters | None = None) -> None:
        super().__init__()
        self._schemas = schemas or {}

    def __missing__(self, name: str) -> Any:
        """Return the default that the schema declares."""
        return self._schemas[name].get("default")


def parse_query(query_string: bytes, schemas: QueryParameters) -> Query:
    """Return the parameters, apart from lists, which are validated and have no effect.

    Raises ApiError for parameters that are unknown, repeated, or not as their schemas require.
    """
    texts: dict[str, str] = {}
    for name, text in _pairs(query_string):
        if name == API_VERSION:
            continue
        list_name = _LIST_SUFFIX.sub("", name)
        if schemas.get(list_name, {}).get("type") == "array":
            _check_choice(list_name, text, schemas[list_name]["items"]["enum"])
            continue
        if name not in schemas and not _is_map_entry(name, schemas):
            raise UnknownParameter(param=name)
        if name in texts:
            raise InvalidValue(param=name, reason="it occurs more than once")
        texts[name] = text
    query = Query(schemas)
    for name, schema in schemas.items():
        value: Any
        if _is_map(schema):
            value = _map_value(name, texts)
        else:
            value = _value(name, texts[name], schema) if name in texts else None
        if value is not None:
            query[name] = value
    return query


def _pairs(query_string: bytes) -> list[tuple[str, str]]:
    """Return names and values as they were sent. Raises ApiError."""
    text = query_string.decode("latin-1")
    try:
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=MAX_PARAMETERS)
    except ValueError:
        raise InvalidRequest(reason="the URL has too many query parameters") from None
    for name, value in pairs:
        if "\0" in name + value:  # Postgres can't store NUL in text
            raise InvalidValue(param=name, reason="it contains a NUL character")
    return pairs


def _value(name: str, text: str, schema: Mapping[str, Any]) -> str | int | bool:
    """Return the value of a parameter that is neither a list nor a map. Raises ApiError."""
    if "enum" in schema:
        _check_choice(name, text, schema["enum"])
    if schema.get("type") == "boolean":
        _check_choice(name, text, FLAGS)
        return FLAGS[text]
    if schema.get("type") == "integer":
        return parse_integer(name, text, minimum=schema.get("minimum", 0), maximum=schema.get("maximum"))
    return text


def _check_choice(name: str, text: str, choices: Collection[str]) -> None:
    if text not in choices:
        alternatives = ", ".join(f"'{choice}'" for choice in choices)
        raise InvalidValue(param=name, reason=f"'{printable(text)}' is none of {alternatives}")


def _is_map(schema: Mapping[str, Any]) -> bool:
    return "object" in schema.get("type", ())


def _is_map_entry(name: str, schemas: QueryParameters) -> bool:
    """Return whether ``name`` is ``parameter[key]`` and the parameter a map."""
    match = _MAP_ENTRY.fullmatch(name)
    return match is not None and _is_map(schemas.get(match[1], {}))


def _map_value(name: str, texts: Mapping[str, str]) -> dict[str, str] | None:
    """Return the map that clients write as ``name[key]=value``, {} for ``name=null``, None if it is absent.

    Raises ApiError.
    """
    entries = {
        match[2]: value
        for key, value in texts.items()
        if (match := _MAP_ENTRY.fullmatch(key)) and match[1] == name
    }
    text = texts.get(name)
    if text is None:
        return entries or None
    if text != "null":
        raise InvalidValue(param=name, reason=f"expected {name}[key]=value, or {name}=null")
    if entries:
        raise InvalidValue(param=name, reason="null can't be combined with keys")
    return {}


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
