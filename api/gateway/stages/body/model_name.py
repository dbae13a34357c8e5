"""The model that a request names, in its body or, as Azure's clients do, in its path."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from api.gateway.http.exchange import Exchange
from api.openai.errors.base import printable
from api.openai.errors.parameters import InvalidValue

T = TypeVar("T")


def noting_model(exchange: Exchange, validate: Callable[[Any], T]) -> Callable[[Any], T]:
    """Return ``validate`` for the parsed body with the path's model, which also notes the requested model."""

    def validate_and_note_model(body: Any) -> T:
        if exchange.deployment is not None:
            body = with_deployment(body, exchange.deployment)
        exchange.requested_model = requested_model(body)
        return validate(body)

    return validate_and_note_model


def requested_model(body: Any) -> str | None:
    """Return the model that a parsed body names, if it is text."""
    name = body.get("model") if isinstance(body, dict) else None
    return name if isinstance(name, str) else None


def with_deployment(body: Any, deployment: str) -> Any:
    """Return a parsed body with the model that the path names. Raises InvalidValue if it names another."""
    if not isinstance(body, dict):
        return body
    if body.get("model") is None:  # LangChain sends null
        body["model"] = deployment
    if body["model"] != deployment:
        raise InvalidValue(param="model", reason=f"the path names another model, '{printable(deployment)}'")
    return body
