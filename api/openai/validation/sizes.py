"""Bounds of a body's arrays and objects, held before a schema looks at a single element.

A schema reports every fault and visits every element; both take seconds for millions of them, and the
process answers nobody meanwhile.
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

MAX_PARAMETERS = 256
MAX_KEYS = 1024
MAX_KEY_LENGTH = 1024
# What one parameter may hold in all its arrays together; a prompt of as many token ids fits.
MAX_ELEMENTS = 131_072
MAX_MESSAGES = 2048
# Parts and tool calls cost far more to check than token ids.
MAX_MESSAGE_ELEMENTS = 16_384

# OpenAI's numbers where they exist: logit_bias, metadata, stop, tools.
_ARRAYS: Mapping[str, int] = {
    "stop": 4,
    "tools": 128,
    "allowed_token_ids": 1024,
    "stop_token_ids": 128,
    "bad_words": 128,
    "modalities": 2,
}
_OBJECTS: Mapping[str, int] = {"logit_bias": 300, "metadata": 16, "chat_template_kwargs": 32}


def longest_array(name: str, *, conversation: str = "messages") -> int:
    """How many elements the array of a parameter may have."""
    return MAX_MESSAGES if name == conversation else _ARRAYS.get(name, MAX_ELEMENTS)


def largest_object(name: str) -> int:
    """How many properties the object of a parameter may have."""
    return _OBJECTS.get(name, MAX_KEYS)


def check_sizes(body: Mapping[str, Any], *, conversation: str = "messages") -> None:
    """Raise ApiError for the first array or object of a body that is too large.

    ``conversation``: the parameter that holds messages.
    """
    if len(body) > MAX_PARAMETERS:
        first_beyond = next(islice(body, MAX_PARAMETERS, None))
        reason = f"it has more than {MAX_PARAMETERS} parameters"
        raise InvalidRequest(param=first_beyond, reason=reason)
    for name, value in body.items():
        _check_key(name, name)
        longest = longest_array(name, conversation=conversation)
        if isinstance(value, list) and len(value) > longest:
            raise _too_long(name, longest, len(value))
        if isinstance(value, dict) and len(value) > largest_object(name):
            raise _too_many(name, largest_object(name), len(value))
        if isinstance(value, list | dict):
            _check_inside(name, value, MAX_MESSAGE_ELEMENTS if name == conversation else MAX_ELEMENTS)


def check_characters(body: Mapping[str, Any], name: str, bound: int) -> None:
    """Raise ApiError if all strings of a parameter together, keys included, are longer than this."""
    total = 0
    pending = [body.get(name)]
    while pending:
        found = pending.pop()
        if isinstance(found, str):
            total += len(found)
        elif isinstance(found, dict):
            pending.extend((*found, *found.values()))
        elif isinstance(found, list):
            pending.extend(found)
    if total > bound:
        raise StringAboveMaxLength(param=name, bound=bound, length=total)


def _check_inside(name: str, value: list[Any] | dict[str, Any], most: int) -> None:
    elements = 0
    pending: list[list[Any] | dict[str, Any]] = [value]
    while pending:
        found = pending.pop()
        if isinstance(found, list):
            elements += len(found)
            if elements > most:
                raise _too_long(name, most, elements)
            pending.extend(inner for inner in found if isinstance(inner, list | dict))
            continue
        if len(found) > MAX_KEYS:
            raise _too_many(name, MAX_KEYS, len(found))
        for key, inner in found.items():
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
