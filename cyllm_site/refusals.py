"""What is wrong with an HTTP request before any application has looked at it, and the answer to that."""

from __future__ import annotations

import http
import re
from collections.abc import Iterable, Sequence

from api.gateway.http.answer import NOT_GUESSED
from api.gateway.http.disconnect import Send
from api.gateway.http.request_ids import new_request_id
from api.openai.errors.access import ExpectationFailed, HttpVersionNotSupported, InvalidHttpRequest
from api.openai.errors.base import ApiError

VERSIONS = frozenset({"1.0", "1.1"})
Headers = Sequence[tuple[bytes, bytes]]
_HOST = re.compile(rb"(?:[A-Za-z0-9._~!$&'()*+,;=%-]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]*)?")


def broken_request(reason: str) -> ApiError:
    """The error for bytes that a parser refused. ``reason``: its words, which quote nothing of them."""
    if "version" in reason.lower() or "PRI" in reason:  # the preface of HTTP/2
        return HttpVersionNotSupported()
    return InvalidHttpRequest(reason=reason.strip().rstrip("."))


def head_fault(version: str, headers: Headers) -> ApiError | None:
    """The first fault of a head that could be read (RFC 9112, 3.2; RFC 9110, 10.1.1)."""
    if version not in VERSIONS:
        return HttpVersionNotSupported()
    hosts = [value for name, value in headers if name == b"host"]
    if len(hosts) > 1 or (version == "1.1" and not hosts):
        return InvalidHttpRequest(reason=f"expected one Host header, found {len(hosts)}")
    if hosts and not _HOST.fullmatch(hosts[0].strip()):
        return InvalidHttpRequest(reason="the Host header is malformed")
    expected = [value.strip().lower() for name, value in headers if name == b"expect"]
    if version == "1.1" and any(value != b"100-continue" for value in expected):
        return ExpectationFailed()
    return None


def with_path(target: bytes) -> bytes:
    """A request target in absolute form always with a path, as it means the same (RFC 9112, 3.2.2).

    Raises ApiError for the forms that concern no resource: those of CONNECT and of ``OPTIONS *``.
    """
    if target.startswith(b"/"):
        return target
    scheme, found, rest = target.partition(b"://")
    if scheme.lower() not in (b"http", b"https") or not found:
        raise broken_request("the request target is malformed")
    if b"/" in rest.partition(b"?")[0]:
        return target
    authority, question, query = rest.partition(b"?")
    return scheme + b"://" + authority + b"/" + question + query


async def send_error(send: Send, error: ApiError, request_id: str = "") -> None:
    """Answer with the error."""
    status, headers, body = error.status, _headers(error, request_id or new_request_id()), error.body()
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})


def refusal_bytes(error: ApiError, request_id: str, defaults: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The whole answer on a connection that is closed after it."""
    phrase = http.HTTPStatus(error.status).phrase
    head = [*defaults, *_headers(error, request_id), (b"connection", b"close")]
    lines = b"".join(name + b": " + value + b"\r\n" for name, value in head)
    return f"HTTP/1.1 {error.status} {phrase}\r\n".encode() + lines + b"\r\n" + error.body()


def _headers(error: ApiError, request_id: str) -> list[tuple[bytes, bytes]]:
    more = [(name.encode(), value.encode("latin-1")) for name, value in error.headers.items()]
    return [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(error.body())).encode()),
        (b"x-request-id", request_id.encode()),
        NOT_GUESSED,
        *more,
    ]
