"""``Idempotency-Key``: a repeated POST takes effect once, and returns the first answer again."""

from __future__ import annotations

import base64
import datetime as dt
import functools
import hashlib
import hmac
import json
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings
from django.db import transaction
from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response

from api.admin_api.base import AdminView
from api.admin_api.models import IdempotentAnswer
from api.openai.errors.administration import (
    IdempotencyKeyReused,
    IdempotentAnswerUnreadable,
    InvalidIdempotencyKey,
)

KEEP_HOURS = 24
MAX_LENGTH = 255
CLEANUP_BATCH = 100
HEADERS = ("ETag", "Location")

View = TypeVar("View", bound=AdminView)
Arguments = ParamSpec("Arguments")
Handler = Callable[Concatenate[View, Request, Arguments], Response]


def idempotent(handler: Handler[View, Arguments]) -> Handler[View, Arguments]:
    """Run a POST handler once per ``Idempotency-Key`` of a caller. Errors are not kept.

    The change and its answer commit together. A repetition that arrives meanwhile waits for the first.
    """

    def wrapped(view: View, request: Request, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Response:
        key = request.headers.get("idempotency-key")
        if key is None:
            return handler(view, request, *args, **kwargs)
        if not (0 < len(key) <= MAX_LENGTH and key.isascii() and key.isprintable()):
            raise InvalidIdempotencyKey(limit=MAX_LENGTH)
        _delete_old()
        with transaction.atomic():
            row, is_first = _claim(view, request, key)
            if not is_first:
                return _replay(view, request, row, key)
            response = handler(view, request, *args, **kwargs)
            row.sealed_answer = _seal(view, key, response)
            row.save(update_fields=["sealed_answer"])
            return response

    return cast("Handler[View, Arguments]", functools.update_wrapper(wrapped, handler))


def _claim(view: AdminView, request: Request, key: str) -> tuple[IdempotentAnswer, bool]:
    # The unique constraint lets a concurrent repetition wait until the first has committed.
    return IdempotentAnswer.objects.get_or_create(
        caller=view.caller.identity,
        key_hash=hashlib.sha256(key.encode()).hexdigest(),
        defaults={"request_hash": _request_hash(request)},
    )


def _request_hash(request: Request) -> str:
    body = json.dumps(request.data, sort_keys=True, default=str)
    return hashlib.sha256(f"{request.method} {request.path}\n{body}".encode()).hexdigest()


def _replay(view: AdminView, request: Request, row: IdempotentAnswer, key: str) -> Response:
    if row.request_hash != _request_hash(request):
        raise IdempotencyKeyReused(hours=KEEP_HOURS)
    try:
        answer: dict[str, Any] = json.loads(_cipher(view, key).decrypt(row.sealed_answer.encode()))
    except InvalidToken:
        raise IdempotentAnswerUnreadable() from None
    headers = {**answer["headers"], "Idempotency-Replayed": "true"}
    return Response(answer["body"], status=answer["status"], headers=headers)


def _seal(view: AdminView, key: str, response: Response) -> str:
    headers = {name: response[name] for name in HEADERS if name in response}
    answer = {"status": response.status_code, "body": response.data, "headers": headers}
    return _cipher(view, key).encrypt(json.dumps(answer).encode()).decode()


def _cipher(view: AdminView, key: str) -> MultiFernet:
    """Return a cipher whose key needs both the platform's secret and the client's header.

    It encrypts with the current secret key, and also decrypts with earlier ones.
    """
    text = f"idempotent answer\n{view.caller.identity}\n{key}"
    secrets = (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)
    digests = (hmac.new(secret.encode(), text.encode(), hashlib.sha256).digest() for secret in secrets)
    return MultiFernet([Fernet(base64.urlsafe_b64encode(digest)) for digest in digests])


def _delete_old() -> None:
    oldest = timezone.now() - dt.timedelta(hours=KEEP_HOURS)
    rows = IdempotentAnswer.objects.filter(created_at__lt=oldest).values("pk")[:CLEANUP_BATCH]
    IdempotentAnswer.objects.filter(pk__in=rows).delete()
