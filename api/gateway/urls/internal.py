"""Routes for the platform's own processes. They are no part of the API and its document."""

from __future__ import annotations

from collections.abc import Iterator

from api.gateway.endpoints.artifacts import URL_QUERY
from api.gateway.http.url_table import Route, RouteDoc
from inference_worker.registry.adapter_urls import ARTIFACTS_PATH


def internal_routes() -> Iterator[Route]:
    """Return the routes of adapter archives."""
    yield Route(
        "GET",
        f"{ARTIFACTS_PATH}{{sha256}}",
        lambda endpoints: endpoints.artifacts.download,
        RouteDoc("Download an adapter by a signed URL."),
        query=URL_QUERY,
    )
