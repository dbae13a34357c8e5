"""Errors of HTTP messages, and their responses outside any application."""

from __future__ import annotations

import http
import re
from collections.abc import Iterable, Sequence

from api.gateway.http.answer import NOSNIFF
from api.gateway.http.disconnect import Send
from api.gateway.http.request_ids import new_request_id
from api.openai.errors.access import ExpectationFailed, HttpVersionNotSupported, InvalidHttpRequest
from api.openai.errors.base import ApiError

VERSIONS = frozenset({"1.0", "1.1"})
Headers = Sequence[tuple[bytes, bytes]]
_HOST = re.compile(rb"(?:[A-Za-z0-9._~!$&'()*+,;=%-]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]*)?")


def parse_error(reason: str) -> ApiError:
    """Return the error for a request that the parser rejected. ``reason`` must not quote the request."""
    if "version" in reason.lower() or "PRI" in reason:  # the preface of HTTP/2
        return HttpVersionNotSupported()
    return InvalidHttpRequest(reason=reason.strip().rstrip("."))


def head_error(version: str, headers: Headers) -> ApiError | None:
    """Return the first error in a parsed head, or None (RFC 9112, 3.2; RFC 9110, 10.1.1)."""
    if version not in VERSIONS:
        return HttpVersionNotSupported()
    hosts = [value for name, value in headers if name == b"host"]
    if len(hosts) > 1 or (version == "1.1" and not hosts):
        return InvalidHttpRequest(reason=f"expected one Host header, found {len(hosts)}")
    if hosts and not _HOST.fullmatch(hosts[0].strip()):
        return InvalidHttpRequest(reason="the Host header is malformed")
    expectations = [value.strip().lower() for name, value in headers if name == b"expect"]
    if version == "1.1" and any(value != b"100-continue" for value in expectations):
        return ExpectationFailed()
    return None


def normalize_target(target: bytes) -> bytes:
    """Add the path ``/`` to a request target in absolute form without one (RFC 9112, 3.2.2).

    Raises ApiError for targets that name no resource: those of CONNECT and of ``OPTIONS *``.
    """
    if target.startswith(b"/"):
        return target
    scheme, separator, rest = target.partition(b"://")
    if scheme.lower() not in (b"http", b"https") or not separator:
        raise parse_error("the request target is malformed")
    if b"/" in rest.partition(b"?")[0]:
        return target
    authority, question, query = rest.partition(b"?")
    return scheme + b"://" + authority + b"/" + question + query


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
