"""Log lines of pages that refused or failed, without any text of the client's, which could identify a person.

They replace those of Django, which quote addresses, headers, names of files and messages of errors.
"""

from __future__ import annotations

import logging
import sys

from django.core.signals import got_request_exception
from django.dispatch import receiver
from django.http import HttpRequest

from inference_worker.telemetry.masking import trace_without_messages

logger = logging.getLogger("cyllm.site.pages")


def log_refusal(request: HttpRequest, reason: str, error: Exception | None = None) -> None:
    """Log a refused request. ``error``: the cause whose trace is of interest."""
    trace = trace_without_messages(error) if error else ""
    logger.warning(
        "%s %s was refused: %s", request.method, request_route(request), reason, extra={"trace": trace}
    )


def request_route(request: HttpRequest) -> str:
    """Return the pattern of the request's address."""
    match = request.resolver_match
    return match.route if match and match.route else "an unknown page"


@receiver(got_request_exception)
def log_failure(request: HttpRequest, **_: object) -> None:
    """Log the exception that a page didn't handle."""
    error = sys.exc_info()[1]
    trace = trace_without_messages(error) if error else ""
    logger.error("%s %s failed", request.method, request_route(request), extra={"trace": trace})
