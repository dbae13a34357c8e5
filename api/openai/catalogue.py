"""The one catalogue of API errors: code, status, type, message and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping

from api.openai.error_spec import ErrorSpec
from api.openai.kept_errors import RESPONSE_ERRORS, STREAM_ERRORS

_AUTHENTICATION = (
    ErrorSpec(
        "missing_api_key",
        401,
        "You didn't provide an API key. Send it in the header 'Authorization: Bearer YOUR_KEY'.",
        "Send the header `Authorization: Bearer <key>`; in the SDKs set `api_key` or `OPENAI_API_KEY`.",
    ),
    ErrorSpec(
        "invalid_authorization",
        401,
        "The Authorization header is malformed. Expected 'Authorization: Bearer YOUR_KEY'.",
        "Use the scheme `Bearer`, one space, then the key, and send the header once.",
    ),
    ErrorSpec(
        "invalid_api_key",
        401,
        "Incorrect API key provided.",
        "Check the key for missing characters, or ask your administrator for a new one.",
    ),
    ErrorSpec(
        "key_revoked",
        401,
        "This API key has been revoked.",
        "Use the key that replaced it, or ask your administrator for a new one.",
    ),
    ErrorSpec(
        "key_expired",
        401,
        "This API key has expired.",
        "Ask your administrator to rotate the key.",
    ),
    ErrorSpec(
        "tenant_inactive",
        403,
        "The tenant that this API key belongs to is not active.",
        "Ask your administrator to activate the tenant.",
    ),
    ErrorSpec(
        "insufficient_scope",
        403,
        "This API key lacks the scope '{scope}' that this endpoint needs.",
        "Use a key with that scope, or have the scope added to this key.",
    ),
)

_TRANSPORT = (
    ErrorSpec(
        "invalid_http_request",
        400,
        "The bytes received are no valid HTTP request: {reason}.",
        "Send HTTP/1.1 as a client library writes it; look at what a proxy in between makes of it.",
    ),
    ErrorSpec(
        "head_timeout",
        408,
        "The request's head did not arrive within {limit_s:g} s.",
        "Send the request line and all headers without pauses.",
    ),
    ErrorSpec(
        "headers_too_large",
        431,
        "The request's headers or trailers are larger than the limit of {limit} bytes.",
        "Send fewer or shorter headers; look for cookies and tracing headers that pile up.",
    ),
    ErrorSpec(
        "expectation_failed",
        417,
        "The Expect header asks for something else than '100-continue'.",
        "Leave the header out, or send `Expect: 100-continue`.",
    ),
    ErrorSpec(
        "http_version_not_supported",
        505,
        "This version of HTTP is not served here. Expected HTTP/1.1 or HTTP/1.0.",
        "Let the client, or the proxy in front, speak HTTP/1.1 to this address.",
    ),
    ErrorSpec(
        "forbidden",
        403,
        "This page may not be used with what was sent along.",
        "Sign in first, and send the form's CSRF token; pages are for browsers, the API is below `/v1`.",
    ),
    ErrorSpec(
        "unknown_url",
        404,
        "Unknown request URL: {method} {path}.",
        "Check the path for typing errors; the base URL ends in `/v1`.",
    ),
    ErrorSpec(
        "method_not_allowed",
        405,
        "Not allowed to {method} on {path}. Allowed: {allowed}.",
        "Use one of the methods in the `Allow` header.",
    ),
    ErrorSpec(
        "unsupported_media_type",
        415,
        "Unsupported media type: expected 'application/json' in UTF-8, without content encoding.",
        "Send `Content-Type: application/json` and an uncompressed body.",
    ),
    ErrorSpec(
        "request_too_large",
        413,
        "The request body is larger than the limit of {limit} bytes.",
        "Send less at once; operators set the limit with `CYLLM_MAX_BODY_BYTES`.",
    ),
    ErrorSpec(
        "client_timeout",
        408,
        "The request body did not arrive within {limit_s:g} s ({elapsed_s:.1f} s elapsed).",
        "Send the whole body without pauses; operators set `CYLLM_CLIENT_BODY_TIMEOUT_S`.",
    ),
    ErrorSpec(
        "client_disconnected",
        499,
        "The client closed the connection before the answer was complete.",
        "Seen only in usage and audit records: nobody was left to receive it.",
    ),
)

_JSON = (
    ErrorSpec(
        "invalid_json",
        400,
        "The request body could not be parsed as JSON: {reason}.",
        "Send one JSON object in UTF-8; numbers must be finite.",
    ),
    ErrorSpec(
        "duplicate_key",
        400,
        "The request body has the key '{key}' twice in one object.",
        "Send every key once: which of two values is meant can't be known.",
    ),
    ErrorSpec(
        "json_too_deep",
        400,
        "The request body is nested deeper than {limit} levels.",
        "Flatten the structure.",
    ),
    ErrorSpec(
        "json_too_complex",
        400,
        "The request body has more than {limit} objects and arrays.",
        "Split the request.",
    ),
)

_PARAMETERS = (
    ErrorSpec(
        "missing_required_parameter",
        400,
        "Missing required parameter: '{param}'.",
        "Add the parameter named in `param`.",
    ),
    ErrorSpec(
        "unknown_parameter",
        400,
        "Unknown parameter: '{param}'.",
        "Remove it, or check its spelling.",
    ),
    ErrorSpec(
        "unsupported_parameter",
        400,
        "Unsupported parameter: '{param}' is not supported here: {reason}.",
        "Remove it; the message says what there is instead.",
    ),
    ErrorSpec(
        "unsupported_value",
        400,
        "Unsupported value: '{param}' does not support {value} here: {reason}.",
        "Use a value that the message names, or leave the parameter out.",
    ),
    ErrorSpec(
        "invalid_type",
        400,
        "Invalid type for '{param}': expected {expected}, but got {found} instead.",
        "Send the type that the message names.",
    ),
    ErrorSpec(
        "invalid_value",
        400,
        "Invalid value for '{param}': {reason}.",
        "Send a value that the message allows.",
    ),
    ErrorSpec(
        "invalid_request",
        400,
        "Invalid request: {reason}.",
        "Change what the message names.",
    ),
    ErrorSpec(
        "integer_below_min_value",
        400,
        "Invalid '{param}': integer below minimum value. Expected a value {sign} {bound}, but got {value}.",
        "Raise the value.",
    ),
    ErrorSpec(
        "integer_above_max_value",
        400,
        "Invalid '{param}': integer above maximum value. Expected a value {sign} {bound}, but got {value}.",
        "Lower the value.",
    ),
    ErrorSpec(
        "decimal_below_min_value",
        400,
        "Invalid '{param}': decimal below minimum value. Expected a value {sign} {bound}, but got {value}.",
        "Raise the value.",
    ),
    ErrorSpec(
        "decimal_above_max_value",
        400,
        "Invalid '{param}': decimal above maximum value. Expected a value {sign} {bound}, but got {value}.",
        "Lower the value.",
    ),
    ErrorSpec(
        "string_below_min_length",
        400,
        "Invalid '{param}': string too short. Expected {bound} characters or more, but got {length}.",
        "Send a longer string, or leave the parameter out.",
    ),
    ErrorSpec(
        "string_above_max_length",
        400,
        "Invalid '{param}': string too long. Expected {bound} characters at most, but got {length}.",
        "Send a shorter string.",
    ),
    ErrorSpec(
        "empty_array",
        400,
        "Invalid '{param}': empty array. Expected {bound} elements or more.",
        "Add elements, or leave the parameter out.",
    ),
    ErrorSpec(
        "array_above_max_length",
        400,
        "Invalid '{param}': array too long. Expected {bound} elements at most, but got {length}.",
        "Send fewer elements.",
    ),
    ErrorSpec(
        "object_above_max_properties",
        400,
        "Invalid '{param}': too many properties. Expected {bound} at most, but got {length}.",
        "Send fewer properties.",
    ),
    ErrorSpec(
        "context_length_exceeded",
        400,
        "This model's maximum context length is {limit} tokens. However, {found}.",
        "Shorten what is sent, or lower `max_completion_tokens`: both together have to fit.",
    ),
    ErrorSpec(
        "answer_too_large",
        400,
        "The answer has {size} bytes. It may have {limit} at most where it is not streamed.",
        "Ask for less at once: fewer inputs, choices or log probabilities. Stream; have vectors in base64.",
    ),
    ErrorSpec(
        "unsupported_model",
        400,
        "This is not {kind} model and thus not supported in the {endpoint} endpoint. Supported: {others}.",
        "Use one of the endpoints that the message names, or a model that is made for this one.",
    ),
    ErrorSpec(
        "model_not_found",
        404,
        "The model '{model}' does not exist or you do not have access to it.",
        "List the models of this key with `GET /v1/models`.",
    ),
)

_SERVICE = (
    ErrorSpec(
        "no_worker_available",
        503,
        "No worker is ready to serve this model at the moment. Please try again.",
        "Try again after `Retry-After`; operators: start a worker for the model or look why none is ready.",
    ),
    ErrorSpec(
        "overloaded",
        503,
        "The server is at its limit of concurrent requests. Please try again.",
        "Try again after `Retry-After`; operators: add gateways or workers, or raise "
        "`CYLLM_GATEWAY_MAX_REQUESTS` or `CYLLM_GATEWAY_BODY_BYTES`.",
    ),
    ErrorSpec(
        "redis_unavailable",
        503,
        "The coordination service is not reachable at the moment. Please try again.",
        "Try again; operators: check Redis at `CYLLM_REDIS_URL`.",
    ),
    ErrorSpec(
        "database_unavailable",
        503,
        "The database is not reachable at the moment. Please try again.",
        "Try again; operators: check Postgres at `CYLLM_DATABASE_URL`.",
    ),
    ErrorSpec(
        "gateway_stopping",
        503,
        "This gateway is being stopped. Please try again.",
        "Try again: another gateway, or the restarted one, answers.",
    ),
    ErrorSpec(
        "worker_lost",
        503,
        "The worker that ran this request was lost and no other could take over.",
        "Send the request again; operators: look at the worker's log.",
    ),
    ErrorSpec(
        "events_lost",
        502,
        "A part of the answer was lost on its way, so the answer was stopped.",
        "Send the request again.",
    ),
    ErrorSpec(
        "upstream_error",
        502,
        "The remote engine could not be reached or broke off.",
        "Send the request again; operators: check the engine behind the worker.",
    ),
    ErrorSpec(
        "engine_error",
        500,
        "The engine failed on this request.",
        "Send the request again; operators: find the cause under the request's id in the worker's log.",
    ),
    ErrorSpec(
        "internal_error",
        500,
        "The server had an error while processing your request.",
        "Send the request again; operators: find the cause under the request's id in the gateway's log.",
    ),
)

_TIMEOUT_STAGES = {
    "queue": ("waiting for an engine to accept the request", "CYLLM_QUEUE_TIMEOUT_S"),
    "first_token": ("waiting for the first token", "CYLLM_FIRST_TOKEN_TIMEOUT_S"),
    "inter_token": ("waiting for the next token", "CYLLM_INTER_TOKEN_TIMEOUT_S"),
    "total": ("processing the whole request", "CYLLM_TOTAL_TIMEOUT_S"),
    "upstream": ("waiting for the remote engine", "CYLLM_WORKER_UPSTREAM_TIMEOUT_S"),
}

_TIMEOUTS = tuple(
    ErrorSpec(
        f"{stage}_timeout",
        504,
        f"Timeout in stage '{stage}' while {doing}: {{elapsed_s:.1f}} s elapsed, limit {{limit_s:g}} s.",
        f"Try again or ask for less; operators: look for the slow part, or raise `{setting}`.",
    )
    for stage, (doing, setting) in _TIMEOUT_STAGES.items()
)

CATALOGUE: Mapping[str, ErrorSpec] = {
    spec.code: spec
    for spec in (
        *_AUTHENTICATION,
        *_TRANSPORT,
        *_JSON,
        *_PARAMETERS,
        *STREAM_ERRORS,
        *RESPONSE_ERRORS,
        *_SERVICE,
        *_TIMEOUTS,
    )
}
