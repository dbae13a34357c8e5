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


class ConflictingKeys(
    ApiError,
    code="conflicting_api_keys",
    status=401,
    message="The headers Authorization and api-key contain different keys.",
    fix="Send one of the two headers, preferably `Authorization: Bearer <key>`.",
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


class IpNotAllowed(
    ApiError,
    code="ip_not_allowed",
    status=403,
    message="This API key may not be used from your address, {address}.",
    fix="Send requests from one of the key's networks, or ask your administrator to add yours.",
):
    address: str


class MismatchedOrganization(
    ApiError,
    code="mismatched_organization",
    status=401,
    message="The header OpenAI-Organization does not name the tenant of this API key.",
    fix="Omit the header, or send the tenant's short name or id; in the SDKs unset `OPENAI_ORG_ID`.",
):
    pass


class MismatchedProject(
    ApiError,
    code="mismatched_project",
    status=401,
    message="The header OpenAI-Project does not name the tenant of this API key.",
    fix="Omit the header, or send the tenant's short name or id; in the SDKs unset `OPENAI_PROJECT_ID`.",
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


class HttpsRequired(
    ApiError,
    code="https_required",
    status=403,
    message="This API requires HTTPS. A key that was sent unencrypted should be rotated.",
    fix="Use `https://` in the base URL; operators behind a proxy set `CYLLM_TRUSTED_PROXIES`.",
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


class TransferCodingNotSupported(
    ApiError,
    code="transfer_coding_not_supported",
    status=501,
    message="The Transfer-Encoding is not supported. Expected 'chunked'.",
    fix="Compress bodies with `Content-Encoding: gzip` instead, which is supported.",
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
    message="{method} is not allowed for {path}. Allowed: {allowed_methods}.",
    fix="Use a method of the `Allow` header.",
):
    method: str
    path: str
    allowed_methods: str


class UnsupportedMediaType(
    ApiError,
    code="unsupported_media_type",
    status=415,
    message="Unsupported media type: expected 'application/json' in UTF-8, uncompressed, gzip or deflate.",
    fix="Send `Content-Type: application/json`, and the body uncompressed or with `Content-Encoding: gzip`.",
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


class TooManySignIns(
    ApiError,
    code="too_many_sign_ins",
    status=429,
    message="Sign-in is locked for this account or address after too many failures.",
    fix="Wait for the time in `Retry-After`; operators unlock clients with `manage.py sign_ins unlock`.",
):
    pass


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
