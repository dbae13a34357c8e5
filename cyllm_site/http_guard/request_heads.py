"""Rules for the heads of requests (RFC 9112, RFC 9110)."""

from __future__ import annotations

import re
from collections.abc import Sequence

from api.openai.errors.access import (
    ExpectationFailed,
    HttpVersionNotSupported,
    InvalidHttpRequest,
    TransferCodingNotSupported,
)
from api.openai.errors.base import ApiError

VERSIONS = frozenset({"1.0", "1.1"})
Headers = Sequence[tuple[bytes, bytes]]
_HOST = re.compile(rb"(?:[A-Za-z0-9._~!$&'()*+,;=%-]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]*)?")
# Reasons of llhttp. The second is the preface of HTTP/2.
_VERSION_REASONS = frozenset({"Invalid HTTP version", "Pause on PRI/Upgrade"})
_NAME_REASON = "a header name contains an invalid character, or its colon is missing"
_CLEARER_REASONS = {
    "Invalid header token": _NAME_REASON,
    "Invalid header field char": _NAME_REASON,
    "Expected CRLF after version": "the request line doesn't end with the version and CRLF",
    "Missing expected CR after header value": "a header line doesn't end with CRLF",
    "Missing expected LF after header value": "a header value contains a bare CR",
    "Missing expected LF after headers": "the head doesn't end with CRLF",
    "Unexpected whitespace after header value": "a header value is folded over several lines",
    "Expected HTTP/, RTSP/ or ICE/": "the request line has no HTTP version",
}


def parse_error(reason: str) -> ApiError:
    """Return the error for a request that the parser rejected. ``reason`` must not quote the request."""
    reason = reason.strip().rstrip(".")
    if reason in _VERSION_REASONS:
        return HttpVersionNotSupported()
    return InvalidHttpRequest(reason=_CLEARER_REASONS.get(reason, reason))


def head_error(version: str, headers: Headers) -> ApiError | None:
    """Return the first error in a parsed head, or None (RFC 9112, 3.2 and 6.1; RFC 9110, 10.1.1)."""
    if version not in VERSIONS:
        return HttpVersionNotSupported()
    hosts = _values(headers, b"host")
    if len(hosts) > 1 or (version == "1.1" and not hosts):
        return InvalidHttpRequest(reason=f"expected one Host header, found {len(hosts)}")
    if hosts and not _HOST.fullmatch(hosts[0].strip()):
        return InvalidHttpRequest(reason="the Host header is malformed")
    if (error := _transfer_error(version, _values(headers, b"transfer-encoding"))) is not None:
        return error
    expectations = [value.strip().lower() for value in _values(headers, b"expect")]
    if version == "1.1" and any(value != b"100-continue" for value in expectations):
        return ExpectationFailed()
    return None


def _transfer_error(version: str, values: list[bytes]) -> ApiError | None:
    """Return the error for codings other than chunked, without which a body has no end."""
    codings = [coding.strip().lower() for coding in b",".join(values).split(b",")] if values else []
    if codings and version == "1.0":
        return InvalidHttpRequest(reason="HTTP/1.0 has no Transfer-Encoding")
    if codings and codings[-1] != b"chunked":
        return InvalidHttpRequest(reason="the last Transfer-Encoding is not chunked")
    return TransferCodingNotSupported() if len(codings) > 1 else None


def _values(headers: Headers, wanted_name: bytes) -> list[bytes]:
    return [value for name, value in headers if name == wanted_name]


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
