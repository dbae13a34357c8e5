"""Error responses outside any application."""

from __future__ import annotations

import http
from collections.abc import Iterable

from api.gateway.http.disconnect import Send
from api.gateway.http.request_ids import new_request_id
from api.gateway.http.response_sender import NOSNIFF
from api.openai.errors.base import ApiError


async def send_error(send: Send, error: ApiError, request_id: str = "") -> None:
    """Send the error as an ASGI response."""
    status, headers, body = error.status, _headers(error, request_id or new_request_id()), error.body()
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})


def error_response(error: ApiError, request_id: str, defaults: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return the error as a complete HTTP/1.1 response that closes its connection."""
    phrase = http.HTTPStatus(error.status).phrase
    head = [*defaults, *_headers(error, request_id), (b"connection", b"close")]
    lines = b"".join(name + b": " + value + b"\r\n" for name, value in head)
    return f"HTTP/1.1 {error.status} {phrase}\r\n".encode() + lines + b"\r\n" + error.body()


def _headers(error: ApiError, request_id: str) -> list[tuple[bytes, bytes]]:
    error_headers = [(name.encode(), value.encode("latin-1")) for name, value in error.headers.items()]
    return [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(error.body())).encode()),
        (b"x-request-id", request_id.encode()),
        NOSNIFF,
        *error_headers,
    ]
