"""Routes of resumable streams."""

from __future__ import annotations

from collections.abc import Iterator

from api.gateway.document import error_groups
from api.gateway.http.url_table import Route, RouteDoc
from api.gateway.streams.event_logs.log_readers import STARTING_AFTER_QUERY
from api.gateway.urls.engine import RUN_MODELS
from api.openai.responses.schemas.events import StreamData
from api.openai.schemas.response_bodies.resources import StreamDeleted, StreamState


def stream_routes() -> Iterator[Route]:
    """Return the routes of resumable streams."""
    yield Route(
        "GET",
        "/v1/streams/{id}",
        lambda endpoints: endpoints.streams.resume,
        RouteDoc(
            "Resume a stream from any of its events.",
            event=StreamData,
            errors=error_groups.STREAM | error_groups.LOG_READING,
        ),
        RUN_MODELS,
        query=STARTING_AFTER_QUERY,
    )
    yield Route(
        "DELETE",
        "/v1/streams/{id}",
        lambda endpoints: endpoints.streams.delete,
        RouteDoc("Cancel and delete a resumable stream.", StreamDeleted, errors=error_groups.STREAM),
        RUN_MODELS,
        query={},
    )
    yield Route(
        "POST",
        "/v1/streams/{id}/cancel",
        lambda endpoints: endpoints.streams.cancel,
        RouteDoc(
            "Cancel a resumable stream, whichever gateway runs it.", StreamState, errors=error_groups.STREAM
        ),
        RUN_MODELS,
        query={},
    )
