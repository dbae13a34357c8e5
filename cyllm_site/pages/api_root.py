"""The answer at the base URL of the API, which people try first."""

from __future__ import annotations

import json

from api.gateway.http.disconnect import Scope, Send
from api.gateway.http.response_sender import NOSNIFF

API_BASES = frozenset({"/v1", "/v1/"})
API_ROOT = {
    "object": "api",
    "message": "This is the base URL of the API. Send requests to addresses below it, such as /v1/models.",
    "reference": "/docs",
    "openapi": "/openapi.json",
    "errors": "The code of an error is described in the reference.",
}


def is_api_root(scope: Scope) -> bool:
    """Return whether a request reads the base URL of the API, which is not an endpoint."""
    return scope["path"] in API_BASES and scope["method"] in ("GET", "HEAD")


async def send_api_root(scope: Scope, send: Send) -> None:
    """Answer with links to the reference, which help more than a 404 against a mistyped base URL."""
    body = json.dumps(API_ROOT).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"link", b'</docs>; rel="help", </openapi.json>; rel="service-desc"'),
        NOSNIFF,
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})
