"""Validation against the SDK's own types: strict, and with nothing that they don't know."""

from __future__ import annotations

from typing import Any

from openai.types.responses import Response, ResponseStreamEvent
from openai.types.responses.response_item import ResponseItem
from pydantic import BaseModel, TypeAdapter

_EVENTS: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
_ITEMS: TypeAdapter[Any] = TypeAdapter(ResponseItem)
# The API returns it, though the type of the SDK doesn't list it.
_UNLISTED = {"store"}


def checked_event(event: dict[str, Any]) -> Any:
    """The event as the SDK's type of that name."""
    found = _EVENTS.validate_python(event, strict=True)
    assert found.type == event["type"]
    _no_extras(found)
    return found


def checked_response(response: dict[str, Any]) -> Response:
    """The response as the SDK's type."""
    found = Response.model_validate(response, strict=True)
    _no_extras(found)
    return found


def checked_item(item: dict[str, Any]) -> Any:
    """An input item as the SDK lists it."""
    found = _ITEMS.validate_python(item, strict=True)
    _no_extras(found)
    return found


def _no_extras(value: Any) -> None:
    if isinstance(value, BaseModel):
        extras = set(value.model_extra or {}) - (_UNLISTED if isinstance(value, Response) else set())
        assert not extras, f"{type(value).__name__} does not know {extras}"
        for name in type(value).model_fields:
            _no_extras(getattr(value, name))
    elif isinstance(value, list):
        for inner in value:
            _no_extras(inner)
