"""Errors of the administrative API."""

from __future__ import annotations

from api.openai.errors.base import ApiError


class ObjectNotFound(
    ApiError,
    code="object_not_found",
    status=404,
    message="The {kind} '{name}' does not exist or you do not have access to it.",
    fix="Check the name or id in the path, or list the objects that you may see.",
):
    kind: str
    name: str


class InsufficientRole(
    ApiError,
    code="insufficient_role",
    status=403,
    message="This requires {required}, but you have {role}.",
    fix="Ask an owner of the tenant for the role; platform settings are for operators.",
):
    required: str
    role: str


class CsrfFailed(
    ApiError,
    code="csrf_failed",
    status=403,
    message="The CSRF token of this session is missing or invalid.",
    fix="Send the cookie's token in the header `X-CSRFToken`, or use an API key.",
):
    pass


class PreconditionRequired(
    ApiError,
    code="precondition_required",
    status=428,
    message="A change requires the header If-Match with the ETag of the object that you read.",
    fix="Read the object, and send its `ETag` in `If-Match`.",
):
    pass


class PreconditionFailed(
    ApiError,
    code="precondition_failed",
    status=412,
    message="The object has changed since you read it. Its ETag is now {etag}.",
    fix="Read the object again, and repeat the change if it still applies.",
):
    etag: str


class InvalidIdempotencyKey(
    ApiError,
    code="invalid_idempotency_key",
    status=400,
    message="The header Idempotency-Key must have 1 to {limit} printable ASCII characters.",
    fix="Send a random text, such as a UUID, that is new for each operation.",
):
    limit: int


class IdempotencyKeyReused(
    ApiError,
    code="idempotency_key_reused",
    status=422,
    message="This Idempotency-Key was used for another request within the last {hours} hours.",
    fix="Send a new key for each operation, and the same body and path when you repeat one.",
):
    hours: int


class IdempotentAnswerUnreadable(
    ApiError,
    code="idempotent_answer_unreadable",
    status=422,
    message="The answer to the first request with this Idempotency-Key can't be read any more.",
    fix="Check whether the first request took effect before you send a new key; operators: add the earlier "
    "secret key to `CYLLM_OLD_SECRET_KEYS`.",
):
    pass
