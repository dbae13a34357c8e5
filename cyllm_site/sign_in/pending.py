"""A sign-in whose password is verified and whose second factor isn't: kept in the session, not signed in."""

from __future__ import annotations

import hmac
import time

from django.contrib.auth import login
from django.contrib.auth.models import User
from django.http import HttpRequest

KEY = "pending_sign_in"
SECOND_FACTOR = "second_factor"  # in the session of a person who gave one
MAX_AGE_S = 600


def pending_begin(request: HttpRequest, user: User, target: str) -> None:
    """Remember the person, and the address to go to after the second factor."""
    request.session[KEY] = {
        "user": user.pk,
        "backend": getattr(user, "backend", ""),
        "hash": user.get_session_auth_hash(),
        "at": time.time(),
        "target": target,
    }


def pending_user(request: HttpRequest) -> User | None:
    """Return the person; None if there is none, it was too long ago, or the password has changed since."""
    values = request.session.get(KEY)
    if not isinstance(values, dict) or not 0 <= time.time() - float(values["at"]) <= MAX_AGE_S:
        return None
    user = User.objects.filter(pk=values["user"], is_active=True).first()
    if user is None or not hmac.compare_digest(str(values["hash"]), user.get_session_auth_hash()):
        return None
    return user


def pending_complete(request: HttpRequest, user: User) -> str:
    """Sign the person in, with a new session key. Returns the address to go to."""
    values = request.session.pop(KEY)
    login(request, user, backend=values["backend"])
    request.session[SECOND_FACTOR] = True
    return str(values["target"])
