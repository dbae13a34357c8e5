"""Bounds on the arrays and objects of a body, checked before pydantic visits their elements.

Pydantic visits every element and reports every fault. With millions of elements, both take seconds, during
which the process can't serve other requests.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import Any

from api.openai.errors.base import ApiError, printable
from api.openai.errors.parameters import (
    ArrayAboveMaxLength,
    InvalidRequest,
    ObjectAboveMaxProperties,
    StringAboveMaxLength,
)
from api.openai.schemas.fields import MAX_BAD_WORDS, MAX_METADATA, MAX_STOP_TEXTS, MAX_STOP_TOKENS, MAX_TOOLS

MAX_PARAMETERS = 256
MAX_KEYS = 1024
MAX_SCHEMA_KEYS = 5000  # of an object in a JSON schema
MAX_KEY_LENGTH = 1024
# Over all arrays of one parameter together; the longest prompt of token ids fits.
MAX_ELEMENTS = 131_072
MAX_MESSAGES = 2048
# Content parts and tool calls are far more expensive to validate than token ids.
MAX_MESSAGE_ELEMENTS = 16_384

# OpenAI's limits where it has one: logit_bias, metadata, stop, tools.
_ARRAYS: Mapping[str, int] = {
    "stop": MAX_STOP_TEXTS,
    "tools": MAX_TOOLS,
    "allowed_token_ids": 1024,
    "stop_token_ids": MAX_STOP_TOKENS,
    "bad_words": MAX_BAD_WORDS,
    "modalities": 2,
}
_WITH_SCHEMAS = frozenset({"response_format", "structured_outputs", "text", "tools"})
_OBJECTS: Mapping[str, int] = {"logit_bias": 300, "metadata": MAX_METADATA, "chat_template_kwargs": 32}


def max_array_length(name: str, *, conversation: str = "messages") -> int:
    """Return the maximum length of an array parameter."""
    return MAX_MESSAGES if name == conversation else _ARRAYS.get(name, MAX_ELEMENTS)


def max_object_size(name: str) -> int:
    """Return the maximum number of properties of an object parameter."""
    return _OBJECTS.get(name, MAX_KEYS)


def check_sizes(body: Mapping[str, Any], *, conversation: str = "messages") -> None:
    """Raise ApiError for the first array or object of a body that is too large.

    ``conversation``: the parameter that contains the messages.
    """
    if len(body) > MAX_PARAMETERS:
        first_excess = next(islice(body, MAX_PARAMETERS, None))
        reason = f"it has more than {MAX_PARAMETERS} parameters"
        raise InvalidRequest(param=first_excess, reason=reason)
    for name, value in body.items():
        _check_key(name, name)
        max_length = max_array_length(name, conversation=conversation)
        if isinstance(value, list) and len(value) > max_length:
            raise _too_long(name, max_length, len(value))
        if isinstance(value, dict) and len(value) > max_object_size(name):
            raise _too_many(name, max_object_size(name), len(value))
        if isinstance(value, list | dict):
            _check_nested(name, value, MAX_MESSAGE_ELEMENTS if name == conversation else MAX_ELEMENTS)


def check_characters(body: Mapping[str, Any], name: str, bound: int) -> None:
    """Raise ApiError if all strings of a parameter, keys included, are longer than the bound in total."""
    total = 0
    pending = [body.get(name)]
    while pending:
        value = pending.pop()
        if isinstance(value, str):
            total += len(value)
        elif isinstance(value, dict):
            pending.extend((*value, *value.values()))
        elif isinstance(value, list):
            pending.extend(value)
    if total > bound:
        raise StringAboveMaxLength(param=name, bound=bound, length=total)


def _check_nested(name: str, value: list[Any] | dict[str, Any], max_elements: int) -> None:
    elements = 0
    max_keys = MAX_SCHEMA_KEYS if name in _WITH_SCHEMAS else MAX_KEYS
    pending: list[list[Any] | dict[str, Any]] = [value]
    while pending:
        container = pending.pop()
        if isinstance(container, list):
            elements += len(container)
            if elements > max_elements:
                raise _too_long(name, max_elements, elements)
            pending.extend(inner for inner in container if isinstance(inner, list | dict))
            continue
        if len(container) > max_keys:
            raise _too_many(name, max_keys, len(container))
        for key, inner in container.items():
            _check_key(key, name)
            if isinstance(inner, list | dict):
                pending.append(inner)


def _check_key(key: str, param: str) -> None:
    if len(key) > MAX_KEY_LENGTH:
        raise StringAboveMaxLength(param=printable(param), bound=MAX_KEY_LENGTH, length=len(key))


def _too_long(param: str, bound: int, length: int) -> ApiError:
    return ArrayAboveMaxLength(param=param, bound=bound, length=length)


def _too_many(param: str, bound: int, length: int) -> ApiError:
    return ObjectAboveMaxProperties(param=param, bound=bound, length=length)
