"""Ends of sessions: after an idle time, at a maximum age, and without a second factor that is required."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from django.conf import settings
from django.contrib.auth import SESSION_KEY, logout
from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.models import AnonymousUser, User
from django.contrib.auth.signals import user_logged_in
from django.dispatch import receiver
from django.http import HttpRequest, HttpResponseBase

from cyllm_site.sign_in import second_factor
from cyllm_site.sign_in.pending import SECOND_FACTOR

SIGNED_IN_AT = "signed_in_at"
SEEN_AT = "seen_at"
REFRESHES = 20  # times that a session in use is stored again within its idle time


@receiver(user_logged_in)
def record_start(request: HttpRequest, **_: object) -> None:
    """Store the time of the sign-in in the session."""
    request.session[SIGNED_IN_AT] = time.time()
    _refresh(request, time.time())


class SessionLimits:
    """Middleware: signs out people whose session is too old, or lacks the second factor that they need."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        # Loading the user ends a session whose password has changed.
        if request.session.get(SESSION_KEY) is not None and request.user.is_authenticated:
            self._check(request)
        return self._get_response(request)

    def _check(self, request: HttpRequest) -> None:
        now = time.time()
        started_at = request.session.setdefault(SIGNED_IN_AT, now)
        if now - started_at >= settings.CYLLM.session_max_s or not may_continue(
            request.session, request.user
        ):
            logout(request)
        elif now - request.session.get(SEEN_AT, 0.0) >= settings.CYLLM.session_idle_s / REFRESHES:
            _refresh(request, now)


def may_continue(session: Mapping[str, Any], user: AbstractBaseUser | AnonymousUser) -> bool:
    """Return whether the session has the second factor that its person needs by now."""
    if not settings.REQUIRE_TWO_FACTOR or session.get(SECOND_FACTOR):
        return True
    return not (isinstance(user, User) and second_factor.is_required(user))


def _refresh(request: HttpRequest, now: float) -> None:
    """Extend the session, at most to its greatest age; after that the session store drops it."""
    request.session[SEEN_AT] = now
    ends_at = request.session[SIGNED_IN_AT] + settings.CYLLM.session_max_s
    request.session.set_expiry(max(1, int(min(settings.CYLLM.session_idle_s, ends_at - now))))
