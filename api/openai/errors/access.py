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
    message="The tenant of this API key is not active.",
    fix="Ask your administrator to activate the tenant.",
):
    pass


class InsufficientScope(
    ApiError,
    code="insufficient_scope",
    status=403,
    message="This API key lacks the scope '{scope}', which this endpoint requires.",
    fix="Use a key with this scope, or ask your administrator to add it.",
):
    scope: str


class InvalidHttpRequest(
    ApiError,
    code="invalid_http_request",
    status=400,
    message="The request is not valid HTTP: {reason}.",
    fix="Use an HTTP client library; check whether a proxy changes the request.",
):
    reason: str


class HeadTimeout(
    ApiError,
    code="head_timeout",
    status=408,
    message="The request line and headers did not arrive within {limit_s:g} s.",
    fix="Send the request line and all headers without delay.",
):
    limit_s: float


class HeadersTooLarge(
    ApiError,
    code="headers_too_large",
    status=431,
    message="The request's headers or trailers exceed the limit of {limit} bytes.",
    fix="Send fewer or shorter headers; check for accumulated cookies and tracing headers.",
):
    limit: int


class ExpectationFailed(
    ApiError,
    code="expectation_failed",
    status=417,
    message="The Expect header has an unsupported value. Expected '100-continue'.",
    fix="Omit the header, or send `Expect: 100-continue`.",
):
    pass


class HttpVersionNotSupported(
    ApiError,
    code="http_version_not_supported",
    status=505,
    message="This HTTP version is not supported. Expected HTTP/1.1 or HTTP/1.0.",
    fix="Use HTTP/1.1, in the client and in any proxy.",
):
    pass


class Forbidden(
    ApiError,
    code="forbidden",
    status=403,
    message="Access to this page was denied, or the CSRF token is missing or invalid.",
    fix="Sign in, and send the form's CSRF token. Pages are for browsers; the API is under `/v1`.",
):
    pass


class UnknownUrl(
    ApiError,
    code="unknown_url",
    status=404,
    message="Unknown request URL: {method} {path}.",
    fix="Check the path for typos; the base URL ends in `/v1`.",
):
    method: str
    path: str


class MethodNotAllowed(
    ApiError,
    code="method_not_allowed",
    status=405,
    message="Not allowed to {method} on {path}. Allowed: {allowed_methods}.",
    fix="Use a method of the `Allow` header.",
):
    method: str
    path: str
    allowed_methods: str


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
    message="The request body exceeds the limit of {limit} bytes.",
    fix="Send a smaller body; operators set the limit with `CYLLM_MAX_BODY_BYTES`.",
):
    limit: int


class ClientTimeout(
    ApiError,
    code="client_timeout",
    status=408,
    message="The request body did not arrive within {limit_s:g} s ({elapsed_s:.1f} s elapsed).",
    fix="Send the body without delay; operators set the limit with `CYLLM_CLIENT_BODY_TIMEOUT_S`.",
):
    limit_s: float
    elapsed_s: float


class ClientDisconnected(
    ApiError,
    code="client_disconnected",
    status=499,
    message="The client closed the connection before the response was complete.",
    fix="Occurs only in usage and audit records, because no client remains to receive it.",
):
    pass
