"""Strict validation against the types of the SDK, without unknown fields."""

from __future__ import annotations

from typing import Any

from openai.types.responses import Response, ResponseStreamEvent
from openai.types.responses.response_item import ResponseItem
from pydantic import BaseModel, TypeAdapter

_EVENTS: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
_ITEMS: TypeAdapter[Any] = TypeAdapter(ResponseItem)
# The API returns it, although the SDK's type lacks it.
_UNLISTED = {"store"}


def parse_event(event: dict[str, Any]) -> Any:
    """Return the event as an instance of the SDK's type."""
    value = _EVENTS.validate_python(event, strict=True)
    assert value.type == event["type"]
    _assert_no_extras(value)
    return value


def parse_response(response: dict[str, Any]) -> Response:
    """Return the response as an instance of the SDK's type."""
    value = Response.model_validate(response, strict=True)
    _assert_no_extras(value)
    return value


def parse_item(item: dict[str, Any]) -> Any:
    """Return an input item as an instance of the SDK's type."""
    value = _ITEMS.validate_python(item, strict=True)
    _assert_no_extras(value)
    return value


def _assert_no_extras(value: Any) -> None:
    if isinstance(value, BaseModel):
        extras = set(value.model_extra or {}) - (_UNLISTED if isinstance(value, Response) else set())
        assert not extras, f"{type(value).__name__} lacks {extras}"
        for name in type(value).model_fields:
            _assert_no_extras(getattr(value, name))
    elif isinstance(value, list):
        for inner in value:
            _assert_no_extras(inner)
