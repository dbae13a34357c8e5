"""Limits of failed sign-ins per account and address, and per address, on top of django-axes."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping
from typing import Any

from axes.backends import AxesStandaloneBackend
from axes.handlers.database import AxesDatabaseHandler
from axes.models import AccessAttempt
from django.conf import settings
from django.db.models import Max, Sum
from django.http import HttpRequest
from django.utils import timezone
from typing_extensions import override


class SignInBackend(AxesStandaloneBackend):  # type: ignore[misc]  # untyped
    """Refuses locked clients before the password is verified. Sign-ins without a request are no client's."""

    @override
    def authenticate(
        self,
        request: HttpRequest | None,
        username: str | None = None,
        password: str | None = None,
        **extra: Any,
    ) -> None:
        if request is not None:
            super().authenticate(request, username=username, password=password, **extra)


class SignInHandler(AxesDatabaseHandler):  # type: ignore[misc]  # untyped
    """Counts failures per account and address, and per address with a higher limit.

    Never per account alone, or anyone could lock an administrator out. A successful sign-in resets only the
    failures of that account from that address: with an account of their own, attackers would otherwise reset
    the count of their address.
    """

    @override
    def get_failures(self, request: HttpRequest, credentials: Mapping[str, Any] | None = None) -> int:
        """Return the account's failures; at least its limit if the address is locked."""
        failures: int = super().get_failures(request, credentials)
        if _address_failures(request) < settings.CYLLM.sign_in_failures_per_address:
            return failures
        return max(failures, settings.CYLLM.sign_in_failures)


def retry_after_s(request: HttpRequest) -> int:
    """Return the seconds until the locked client may sign in again, after its address's last failure."""
    last_failure: dt.datetime | None = _attempts(request).aggregate(last=Max("attempt_time"))["last"]
    lock_s: float = settings.CYLLM.sign_in_lock_s
    if last_failure is None:
        return math.ceil(lock_s)
    return max(1, math.ceil(lock_s - (timezone.now() - last_failure).total_seconds()))


def _address_failures(request: HttpRequest) -> int:
    since = timezone.now() - dt.timedelta(seconds=settings.CYLLM.sign_in_lock_s)
    recent = _attempts(request).filter(attempt_time__gte=since)
    return recent.aggregate(total=Sum("failures_since_start"))["total"] or 0


def _attempts(request: HttpRequest) -> Any:
    return AccessAttempt.objects.filter(ip_address=request.axes_ip_address)  # type: ignore[attr-defined]
