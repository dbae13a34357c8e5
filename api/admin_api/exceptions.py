"""The exception handler of the administrative API, which returns only errors of the catalogue."""

from __future__ import annotations

import json
import logging
from typing import Any

from django.core.exceptions import ValidationError
from django.db import DatabaseError, DataError
from django.http import Http404
from redis import RedisError
from rest_framework import exceptions
from rest_framework.response import Response

from api.openai.errors.access import Forbidden, MethodNotAllowed, UnknownUrl, UnsupportedMediaType
from api.openai.errors.base import ApiError, printable
from api.openai.errors.parameters import InvalidRequest, InvalidValue
from api.openai.errors.service import DatabaseUnavailable, InternalError, RedisUnavailable
from inference_worker.telemetry.masking import trace_without_messages
from tenants.limits.changes import LimitChanges

logger = logging.getLogger("cyllm.admin_api")


def error_response(error: Exception, context: dict[str, Any]) -> Response:
    """Return the response to an exception; the setting ``EXCEPTION_HANDLER`` of REST framework."""
    fault = error if isinstance(error, ApiError) else _translated(error, context)
    body = json.loads(fault.body())
    return Response(body, status=fault.status, headers=dict(fault.headers))


def _translated(error: Exception, context: dict[str, Any]) -> ApiError:
    request = context["request"]
    method, path = printable(str(request.method)), printable(request.path)
    match error:
        case exceptions.MethodNotAllowed():
            methods = ", ".join(context["view"].allowed_methods)
            return MethodNotAllowed(
                method=method, path=path, allowed_methods=methods, headers={"allow": methods}
            )
        case exceptions.UnsupportedMediaType():
            return UnsupportedMediaType()
        case Http404():
            return UnknownUrl(method=method, path=path)
        case exceptions.PermissionDenied():
            return Forbidden()
        case ValidationError():
            return _invalid(error)
        case DataError():
            return InvalidRequest(reason="a value in the request is not valid")
        case DatabaseError():
            failure: ApiError = DatabaseUnavailable()
        case RedisError():
            failure = RedisUnavailable()
        case _:
            failure = InternalError()
    route = request.resolver_match.route if request.resolver_match else "an unknown URL"
    logger.error("%s %s failed", method, route, extra={"trace": trace_without_messages(error)})
    return failure


def _invalid(error: ValidationError) -> ApiError:
    """Return the first fault that a service found."""
    if hasattr(error, "error_dict"):
        name, faults = next(iter(error.message_dict.items()))
        if name != "__all__":
            param = f"limits.{name}" if name in LimitChanges.__annotations__ else name
            return InvalidValue(param=param, reason=_as_reason(faults[0]))
        return InvalidRequest(reason=_as_reason(faults[0]))
    return InvalidRequest(reason=_as_reason(error.messages[0]))


def _as_reason(message: str) -> str:
    return printable(message[:1].lower() + message[1:].removesuffix("."))
