"""Admission to a socket: the origin of the page, the session of the person, the tenant's membership."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from importlib import import_module
from typing import Any
from urllib.parse import urlsplit

from channels.db import database_sync_to_async
from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.models import User
from django.http import parse_cookie
from django.utils.crypto import constant_time_compare
from django.utils.module_loading import import_string

from api.console.access import tenant_access
from training.jobs.selectors import job_find


class Admission(Enum):
    """Verdict on a socket; the values are the codes that close it."""

    ADMITTED = 1000
    SIGNED_OUT = 4401
    NOT_FOUND = 4404


@dataclass(frozen=True, slots=True)
class Visitor:
    """A person who opens a socket of a job."""

    session_key: str
    tenant: str
    job_id: str


def is_same_origin(headers: Mapping[bytes, bytes]) -> bool:
    """Return whether a page of this site opens the socket: browsers don't restrict them to one origin."""
    origin = headers.get(b"origin", b"").decode("latin-1")
    host = headers.get(b"host", b"").decode("latin-1")
    try:
        origin_host = urlsplit(origin).netloc
    except ValueError:  # such as an unclosed bracket
        return False
    return bool(host) and origin_host.lower() == host.lower()


def session_key(headers: Mapping[bytes, bytes]) -> str:
    """Return the key of the session in the cookies, empty if there is none."""
    # As pages do: http.cookies rejects all cookies if one of them, such as another application's, is odd.
    cookies = parse_cookie(headers.get(b"cookie", b"").decode("latin-1"))
    return cookies.get(settings.SESSION_COOKIE_NAME, "")


def admit(visitor: Visitor) -> Admission:
    """Check a session, the membership and the job, as they are in the database now."""
    user = session_user(visitor.session_key)
    if user is None:
        return Admission.SIGNED_OUT
    access = tenant_access(user, visitor.tenant)
    if access is None or job_find(tenant_id=access[0].id, job_id=visitor.job_id) is None:
        return Admission.NOT_FOUND
    return Admission.ADMITTED


def session_user(key: str) -> User | None:
    """Return the active user of a session.

    None if the session has ended, the password has changed since, or the site's policy ends it.
    """
    if not key:
        return None
    session: Any = import_module(settings.SESSION_ENGINE).SessionStore(key)
    if session.get(BACKEND_SESSION_KEY) not in settings.AUTHENTICATION_BACKENDS:
        return None
    user = User.objects.filter(pk=session.get(SESSION_KEY), is_active=True).first()
    if user is None:
        return None
    session_hash = str(session.get(HASH_SESSION_KEY, ""))
    hashes = (user.get_session_auth_hash(), *user.get_session_auth_fallback_hash())
    may_continue: Callable[[Any, User], bool] = import_string(settings.SESSION_POLICY)
    is_current = any(constant_time_compare(session_hash, current) for current in hashes)
    return user if is_current and may_continue(session, user) else None


async def is_signed_in(scope: Mapping[str, Any]) -> bool:
    """Return whether the session in a request's cookies is that of an active user."""
    key = session_key(dict(scope["headers"]))
    return await database_sync_to_async(session_user)(key) is not None
