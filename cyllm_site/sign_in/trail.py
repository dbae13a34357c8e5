"""Audit records and log lines of failed sign-ins and lock-outs. Passwords appear in neither."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from axes.signals import user_locked_out
from django.contrib.auth.models import User
from django.contrib.auth.signals import user_login_failed
from django.db import transaction
from django.dispatch import receiver
from django.http import HttpRequest

from cyllm_site.sign_in.addresses import request_ip
from tenants.audit_trail.changes import admin_audit_record

logger = logging.getLogger("cyllm.site.sign_in")

CLIPPED_LENGTH = 3


@receiver(user_login_failed)
def record_failure(credentials: Mapping[str, Any], request: HttpRequest | None = None, **_: object) -> None:
    """Record a failed sign-in, unless the client was locked already: its password was not verified."""
    if request is not None and not _was_locked(request):
        _record(request, "sign_in.fail", credentials.get("username"))


@receiver(user_locked_out)
def record_lock(request: HttpRequest, username: str | None, **_: object) -> None:
    """Record the failure that locks a client out, not the attempts that follow."""
    if not _was_locked(request):
        _record(request, "sign_in.lock", username)
        logger.warning("sign-in is locked for %s", request_ip(request) or "an unknown address")


def _was_locked(request: HttpRequest) -> bool:
    # The throttle sets the first when it refuses an attempt, the second when it counts one.
    is_refused: bool = getattr(request, "axes_locked_out", False)
    return is_refused and getattr(request, "axes_failures_since_start", None) is None


def _record(request: HttpRequest, action: str, username: object) -> None:
    name = str(username or "")
    user = User.objects.filter(username=name).first()
    with transaction.atomic():
        admin_audit_record(
            actor=f"address:{request_ip(request) or 'unknown'}",
            action=action,
            object_id=str(user.pk) if user else "",
            object_name=name if user else _clipped(name),
        )


def _clipped(name: str) -> str:
    """Return the start of a name that is no account's: people type passwords into the wrong field."""
    return name[:CLIPPED_LENGTH] + "…" if len(name) > CLIPPED_LENGTH else name
