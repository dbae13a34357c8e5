"""Routes of responses and stored responses."""

from __future__ import annotations

from collections.abc import Iterator

from api.gateway.document import error_groups
from api.gateway.endpoints.stored_responses import PAGE_QUERY, RETRIEVE_QUERY
from api.gateway.http.url_table import Route, RouteDoc
from api.gateway.urls.engine import RUN_MODELS
from api.openai.errors.streams import ResponseNotCancellable
from api.openai.responses.schemas.events import ResponseEvent
from api.openai.responses.schemas.request import ResponseRequest
from api.openai.responses.schemas.response_object import (
    CompactedResponse,
    InputItemList,
    InputTokenCount,
    Response,
    ResponseDeleted,
)


def response_routes() -> Iterator[Route]:
    """Return the routes of responses, stored ones included."""
    yield from _creation_routes()
    yield from _stored_response_routes()
    yield from _stored_response_part_routes()


def _creation_routes() -> Iterator[Route]:
    yield Route(
        "POST",
        "/v1/responses",
        lambda endpoints: endpoints.responses.create,
        RouteDoc(
            "Create a response; it may continue a conversation or run in the background.",
            Response,
            ResponseEvent,
            errors=error_groups.ENGINE | error_groups.DETACHED | error_groups.CONVERSATION,
        ),
        RUN_MODELS,
        ResponseRequest,
    )
    yield Route(
        "POST",
        "/v1/responses/input_tokens",
        lambda endpoints: endpoints.input_tokens.count,
        RouteDoc(
            "Count the input tokens of a request for a response, without generating one.",
            InputTokenCount,
            errors=error_groups.ENGINE | error_groups.CONVERSATION,
        ),
        RUN_MODELS,
        ResponseRequest,
    )
    yield Route(
        "POST",
        "/v1/responses/compact",
        lambda endpoints: endpoints.compaction.compact,
        RouteDoc(
            "Replace a conversation by its messages to the model and a summary, as input of later requests.",
            CompactedResponse,
            errors=error_groups.ENGINE | error_groups.CONVERSATION,
        ),
        RUN_MODELS,
        ResponseRequest,
    )


def _stored_response_routes() -> Iterator[Route]:
    yield Route(
        "GET",
        "/v1/responses/{id}",
        lambda endpoints: endpoints.stored_responses.retrieve,
        RouteDoc(
            "Retrieve a stored response, or replay its events.",
            Response,
            ResponseEvent,
            errors=error_groups.STORED_RESPONSE | error_groups.LOG_READING,
        ),
        RUN_MODELS,
        query=RETRIEVE_QUERY,
    )
    yield Route(
        "DELETE",
        "/v1/responses/{id}",
        lambda endpoints: endpoints.stored_responses.delete,
        RouteDoc(
            "Delete a stored response, and cancel it if it is in progress.",
            ResponseDeleted,
            errors=error_groups.STORED_RESPONSE,
        ),
        RUN_MODELS,
        query={},
    )


def _stored_response_part_routes() -> Iterator[Route]:
    yield Route(
        "POST",
        "/v1/responses/{id}/cancel",
        lambda endpoints: endpoints.stored_responses.cancel,
        RouteDoc(
            "Cancel a background response.",
            Response,
            errors=error_groups.STORED_RESPONSE | {ResponseNotCancellable},
        ),
        RUN_MODELS,
        query={},
    )
    yield Route(
        "GET",
        "/v1/responses/{id}/input_items",
        lambda endpoints: endpoints.stored_responses.input_items,
        RouteDoc(
            "List the input items of a stored response.", InputItemList, errors=error_groups.STORED_RESPONSE
        ),
        RUN_MODELS,
        query=PAGE_QUERY,
    )
