"""Pages of errors: what happened, what to do, and the way on, in the person's language."""

from __future__ import annotations

from dataclasses import dataclass

from django.contrib import admin
from django.core.exceptions import BadRequest, DisallowedHost, PermissionDenied, SuspiciousOperation
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from api.console.rendering import theme
from cyllm_site.middleware.error_log import log_refusal

ADMIN_ROOT = "/admin/"


@dataclass(frozen=True, slots=True)
class ErrorText:
    """The texts of an error page."""

    title: Promise
    explanation: Promise
    remedy: Promise


BAD_REQUEST = ErrorText(
    _("This request can't be processed"),
    _("A part of the address or the form has a value that is not valid."),
    _("Go back, correct the value, and try again."),
)
FORBIDDEN = ErrorText(
    _("You may not open this page"),
    _("Your account lacks the right that this page requires."),
    _("Ask an owner of the tenant or an operator for the right, or sign in with another account."),
)
NOT_FOUND = ErrorText(
    _("There is no such page"),
    _("The address has a typing error, or the page was removed or belongs to a tenant that you may not see."),
    _("Check the address, or start from one of these pages."),
)
FAILED = ErrorText(
    _("The server failed"),
    _("An unexpected fault prevented this page from being shown. It has been logged."),
    _("Try again. If it happens again, tell your operator when it happened."),
)
FORM_EXPIRED = ErrorText(
    _("This form is no longer valid"),
    _("The form was open for too long, was opened before you signed in, or cookies are blocked."),
    _("Go back, reload the page, and send the form again."),
)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Return 400. The text of a ``BadRequest`` of this site names the fault."""
    is_forged_host = isinstance(exception, DisallowedHost)
    if isinstance(exception, SuspiciousOperation) and not is_forged_host:
        log_refusal(request, type(exception).__name__)
    detail = str(exception) if type(exception) is BadRequest else ""
    return error_page(request, 400, BAD_REQUEST, detail)


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Return 403 with the text of the exception, if it has one."""
    detail = str(exception) if isinstance(exception, PermissionDenied) else ""
    return error_page(request, 403, FORBIDDEN, detail)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:  # noqa: ARG001 - Django's interface
    """Return 404."""
    return error_page(request, 404, NOT_FOUND)


def failed(request: HttpRequest) -> HttpResponse:
    """Return 500, without any query: the database may be the cause."""
    return _plain_page(request, 500, FAILED, "")


def form_expired(request: HttpRequest, reason: str = "") -> HttpResponse:
    """Return 403 for a form without a valid CSRF token; the setting ``CSRF_FAILURE_VIEW``."""
    log_refusal(request, reason.partition(" - ")[0])  # the rest quotes the headers Origin and Referer
    return error_page(request, 403, FORM_EXPIRED)


def error_page(request: HttpRequest, status: int, text: ErrorText, detail: str = "") -> HttpResponse:
    """Return an error page: inside the admin with its navigation, elsewhere with links to the main pages."""
    if request.path.startswith(ADMIN_ROOT) and _is_staff(request):
        context = {**admin.site.each_context(request), **_context(status, text, detail)}
        return render(request, "errors/admin.html", context, status=status)
    return _plain_page(request, status, text, detail)


def _plain_page(request: HttpRequest, status: int, text: ErrorText, detail: str) -> HttpResponse:
    context = {**_context(status, text, detail), "theme": theme(request)}
    return render(request, "errors/page.html", context, status=status)


def _context(status: int, text: ErrorText, detail: str) -> dict[str, object]:
    explanation = detail or text.explanation
    return {"title": text.title, "explanation": explanation, "remedy": text.remedy, "status": status}


def _is_staff(request: HttpRequest) -> bool:
    # Middleware that refuses a request early runs before the one that finds the user.
    user = getattr(request, "user", None)
    return bool(user and user.is_active and user.is_staff)
