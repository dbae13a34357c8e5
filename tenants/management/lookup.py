"""Finds what people name on the command line, or says what there is instead."""

from __future__ import annotations

import datetime as dt

from django.contrib.auth.models import User
from django.utils import timezone

from backoffice.command_base import unknown_name
from tenants import selectors
from tenants.keys import split_key
from tenants.models import ApiKey, Tenant


def tenant_named(slug: str) -> Tenant:
    """The tenant with this short name. Raises CommandError."""
    tenant = selectors.tenant_by_slug(slug)
    if tenant is None:
        raise unknown_name("tenant", slug, selectors.tenant_slugs(), "`manage.py tenants list` shows all.")
    return tenant


def tenant_filter(slug: str | None) -> Tenant | None:
    """The tenant to look at, None for all. Raises CommandError."""
    return tenant_named(slug) if slug else None


def user_named(username: str) -> User:
    """The person with this name. Raises CommandError."""
    user = selectors.user_by_name(username)
    if user is None:
        remedy = "`manage.py createsuperuser` or the admin makes one."
        raise unknown_name("user", username, selectors.usernames(), remedy)
    return user


def key_named(text: str) -> ApiKey:
    """The key with this prefix, or whose whole text this is. Raises CommandError, never with a secret."""
    prefix = split_key(text) or text.removeprefix("sk-cy-").partition("-")[0]
    key = selectors.keys().filter(prefix=prefix).first()
    if key is None:
        raise unknown_name("key", prefix[:12], selectors.key_prefixes(), "`manage.py keys list` shows all.")
    return key


def since(hours: float | None) -> dt.datetime | None:
    """The moment so many hours ago, None for no limit."""
    return None if hours is None else timezone.now() - dt.timedelta(hours=hours)
