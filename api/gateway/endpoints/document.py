"""The OpenAPI document of the API, served by the API."""

from __future__ import annotations

import json
from collections.abc import Sequence

from api.gateway.document.openapi import openapi_document
from api.gateway.http.disconnect import Receive
from api.gateway.http.exchange import Exchange
from api.gateway.http.response_sender import ResponseSender
from api.gateway.http.url_table import Route


class DocumentEndpoint:
    """Serves the document, which it creates at the first request."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self._routes = routes
        self._body: bytes | None = None

    async def serve(self, _: Exchange, __: Receive, sender: ResponseSender) -> None:
        """Send the document."""
        if self._body is None:
            self._body = json.dumps(openapi_document(self._routes)).encode()
        await sender.json(self._body)
