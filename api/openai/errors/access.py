"""Errors of authentication, authorization and HTTP itself."""

from __future__ import annotations

from api.openai.errors.base import ApiError


class MissingApiKey(
    ApiError,
    code="missing_api_key",
    status=401,
    message="You didn't provide an API key. Send it in the header 'Authorization: Bearer YOUR_KEY'.",
    fix="Send the header `Authorization: Bearer <key>`; in the SDKs set `api_key` or `OPENAI_API_KEY`.",
):
    pass


class InvalidAuthorization(
    ApiError,
    code="invalid_authorization",
    status=401,
    message="The Authorization header is malformed. Expected 'Authorization: Bearer YOUR_KEY'.",
    fix="Use the scheme `Bearer`, one space, then the key, and send the header once.",
):
    pass


class InvalidApiKey(
    ApiError,
    code="invalid_api_key",
    status=401,
    message="Incorrect API key provided.",
    fix="Check the key for missing characters, or ask your administrator for a new one.",
):
    pass


class KeyRevoked(
    ApiError,
    code="key_revoked",
    status=401,
    message="This API key has been revoked.",
    fix="Use the key that replaced it, or ask your administrator for a new one.",
):
    pass


class KeyExpired(
    ApiError,
    code="key_expired",
    status=401,
    message="This API key has expired.",
    fix="Ask your administrator to rotate the key.",
):
    pass


class TenantInactive(
    ApiError,
    code="tenant_inactive",
    status=403,
    message="The tenant that this API key belongs to is not active.",
    fix="Ask your administrator to activate the tenant.",
):
    pass


class InsufficientScope(
    ApiError,
    code="insufficient_scope",
    status=403,
    message="This API key lacks the scope '{scope}' that this endpoint needs.",
    fix="Use a key with that scope, or have the scope added to this key.",
):
    scope: str


class InvalidHttpRequest(
    ApiError,
    code="invalid_http_request",
    status=400,
    message="The bytes received are no valid HTTP request: {reason}.",
    fix="Send HTTP/1.1 as a client library writes it; look at what a proxy in between makes of it.",
):
    reason: str


class HeadTimeout(
    ApiError,
    code="head_timeout",
    status=408,
    message="The request's head did not arrive within {limit_s:g} s.",
    fix="Send the request line and all headers without pauses.",
):
    limit_s: float


class HeadersTooLarge(
    ApiError,
    code="headers_too_large",
    status=431,
    message="The request's headers or trailers are larger than the limit of {limit} bytes.",
    fix="Send fewer or shorter headers; look for cookies and tracing headers that pile up.",
):
    limit: int


class ExpectationFailed(
    ApiError,
    code="expectation_failed",
    status=417,
    message="The Expect header asks for something else than '100-continue'.",
    fix="Leave the header out, or send `Expect: 100-continue`.",
):
    pass


class HttpVersionNotSupported(
    ApiError,
    code="http_version_not_supported",
    status=505,
    message="This version of HTTP is not served here. Expected HTTP/1.1 or HTTP/1.0.",
    fix="Let the client, or the proxy in front, speak HTTP/1.1 to this address.",
):
    pass


class Forbidden(
    ApiError,
    code="forbidden",
    status=403,
    message="This page may not be used with what was sent along.",
    fix="Sign in first, and send the form's CSRF token; pages are for browsers, the API is below `/v1`.",
):
    pass


class UnknownUrl(
    ApiError,
    code="unknown_url",
    status=404,
    message="Unknown request URL: {method} {path}.",
    fix="Check the path for typing errors; the base URL ends in `/v1`.",
):
    method: str
    path: str


class MethodNotAllowed(
    ApiError,
    code="method_not_allowed",
    status=405,
    message="Not allowed to {method} on {path}. Allowed: {allowed}.",
    fix="Use one of the methods in the `Allow` header.",
):
    method: str
    path: str
    allowed: str


class UnsupportedMediaType(
    ApiError,
    code="unsupported_media_type",
    status=415,
    message="Unsupported media type: expected 'application/json' in UTF-8, without content encoding.",
    fix="Send `Content-Type: application/json` and an uncompressed body.",
):
    pass


class RequestTooLarge(
    ApiError,
    code="request_too_large",
    status=413,
    message="The request body is larger than the limit of {limit} bytes.",
    fix="Send less at once; operators set the limit with `CYLLM_MAX_BODY_BYTES`.",
):
    limit: int


class ClientTimeout(
    ApiError,
    code="client_timeout",
    status=408,
    message="The request body did not arrive within {limit_s:g} s ({elapsed_s:.1f} s elapsed).",
    fix="Send the whole body without pauses; operators set `CYLLM_CLIENT_BODY_TIMEOUT_S`.",
):
    limit_s: float
    elapsed_s: float


class ClientDisconnected(
    ApiError,
    code="client_disconnected",
    status=499,
    message="The client closed the connection before the answer was complete.",
    fix="Seen only in usage and audit records: nobody was left to receive it.",
):
    pass
