"""The page that a locked client receives instead of the sign-in form."""

from __future__ import annotations

import math

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext, ngettext

from cyllm_site.sign_in.throttle import retry_after_s


def locked_page(request: HttpRequest, *_: object) -> HttpResponse:
    """Return 429 with the time to wait; the setting ``AXES_LOCKOUT_CALLABLE``."""
    wait_s = retry_after_s(request)
    minutes = math.ceil(wait_s / 60)
    remedy = ngettext(
        "Try again in %(minutes)d minute, or ask an operator to unlock your address.",
        "Try again in %(minutes)d minutes, or ask an operator to unlock your address.",
        minutes,
    )
    return refusal_page(request, wait_s, gettext("Too many failed sign-ins"), remedy % {"minutes": minutes})


def busy_page(request: HttpRequest) -> HttpResponse:
    """Return 429 for more sign-ins at the same time than one address may have."""
    title = gettext("Too many sign-ins at the same time")
    return refusal_page(request, 1, title, gettext("Try again in a few seconds."))


def refusal_page(request: HttpRequest, wait_s: int, title: str, remedy: str) -> HttpResponse:
    """Return a page with status 429 and ``Retry-After``, and a link to the sign-in page it replaces."""
    is_admin = request.path_info == reverse("admin:login")
    context = {
        **admin.site.each_context(request),
        "title": title,
        "remedy": remedy,
        "sign_in_url": reverse("admin:login" if is_admin else "console:sign-in"),
    }
    response = render(request, "sign_in/refused.html", context, status=429)
    response["Retry-After"], response["Cache-Control"] = str(wait_s), "no-store"
    return response
