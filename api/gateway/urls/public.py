"""Routes without a key: health, and the API's own document."""

from __future__ import annotations

from collections.abc import Iterator

from api.gateway.http.url_table import Route, RouteDoc
from api.openai.schemas.response_bodies.health import LiveReport, ReadyReport


def public_routes() -> Iterator[Route]:
    """Return the routes of health and of the document."""
    yield Route(
        "GET",
        "/health",
        lambda endpoints: endpoints.health.ready,
        RouteDoc("Report whether requests can be served.", ReadyReport, not_ready=ReadyReport),
    )
    yield Route(
        "GET",
        "/health/live",
        lambda endpoints: endpoints.health.live,
        RouteDoc("Report whether the process responds.", LiveReport),
    )
    yield Route(
        "GET",
        "/health/ready",
        lambda endpoints: endpoints.health.ready,
        RouteDoc("Report whether requests can be served.", ReadyReport, not_ready=ReadyReport),
    )
    yield Route(
        "GET", "/openapi.json", lambda endpoints: endpoints.document.serve, RouteDoc("Return this document.")
    )
