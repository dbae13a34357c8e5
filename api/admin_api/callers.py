"""Callers of the administrative API: API keys with an administrative scope, and signed-in people."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from django.conf import settings
from django.contrib.auth.models import User
from django.http import HttpRequest
from django.utils import timezone
from django.utils.module_loading import import_string
from rest_framework.authentication import BaseAuthentication, SessionAuthentication
from rest_framework.exceptions import PermissionDenied
from rest_framework.permissions import SAFE_METHODS
from rest_framework.request import Request

from api.key_checks import bearer_key, check_network, check_validity, verify_secret
from api.openai.errors.access import InsufficientScope
from api.openai.errors.administration import CsrfFailed
from backoffice.admin_base import actor_of
from tenants.choices import Role, Scope
from tenants.keys.last_use import last_use_advance
from tenants.keys.secrets import split_key
from tenants.keys.selectors import KeyPrincipal, key_principal
from tenants.models import Membership

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class Caller:
    """An authenticated caller. ``roles``: the role in each tenant; operators have the owner's in all.

    ``actor`` names the caller in the audit trail, ``identity`` among all callers. ``user``: None for keys,
    ``key_id``: None for people.
    ``requests_per_minute``: the key's own limit, None without one. ``person``: whose keys share a rate with
    this one, None for a key that a command created.
    """

    actor: str
    identity: str
    roles: Mapping[uuid.UUID, str]
    user: User | None = None
    key_id: uuid.UUID | None = None
    requests_per_minute: int | None = None
    person: str | None = None

    @property
    def is_operator(self) -> bool:
        """True if the caller administers the whole platform."""
        return self.user is not None and self.user.is_superuser

    def role(self, tenant_id: uuid.UUID) -> str | None:
        """Return the caller's role in a tenant, None for strangers."""
        return Role.OWNER if self.is_operator else self.roles.get(tenant_id)


class KeyAuthentication(BaseAuthentication):
    """``Authorization: Bearer`` with a key of the scope ``admin`` or ``admin.read``.

    The key is read from the database at each request, so a revocation takes effect at once.
    """

    def authenticate(self, request: Request) -> tuple[Any, Caller] | None:
        """Return the caller, None without the header. Raises ApiError."""
        header = request.headers.get("authorization", "").strip()
        if not header:
            return None
        principal = _principal(bearer_key(header))
        _check(principal, request)
        last_use_advance(principal.key_id, timezone.now())
        role = Role.ADMIN if Scope.ADMIN in principal.scopes else Role.VIEWER
        return None, Caller(
            actor=principal.actor,
            identity=f"key:{principal.key_id}",
            roles={principal.tenant_id: role},
            key_id=principal.key_id,
            requests_per_minute=principal.key_limits.requests_per_minute,
            person=_person_of_key(principal),
        )


def _person_of_key(principal: KeyPrincipal) -> str | None:
    """Return the holder of a key, or the person who created it for the tenant or a service account."""
    if principal.user_id is not None:
        return f"user:{principal.user_id}"
    # Operators create keys in many tenants, whose requests must not hold each other up.
    return f"creator:{principal.created_by_id}:{principal.tenant_id}" if principal.created_by_id else None


def _principal(raw_key: str) -> KeyPrincipal:
    prefix = split_key(raw_key)
    return verify_secret(raw_key, key_principal(prefix) if prefix is not None else None)


def _check(principal: KeyPrincipal, request: Request) -> None:
    check_validity(principal)
    check_network(principal, _client_address(request))
    if principal.scopes.isdisjoint({Scope.ADMIN, Scope.ADMIN_READ}):
        least_scope = Scope.ADMIN_READ if request.method in SAFE_METHODS else Scope.ADMIN
        raise InsufficientScope(scope=least_scope.value)


def _client_address(request: Request) -> str:
    function = cast("Callable[[HttpRequest], str]", import_string(settings.CLIENT_ADDRESS))
    return function(request._request)


class PersonAuthentication(SessionAuthentication):
    """The session of a signed-in person, with Django's CSRF protection."""

    def authenticate(self, request: Request) -> tuple[User, Caller] | None:
        """Return the person and the caller, None without a session. Raises ApiError."""
        user = getattr(request._request, "user", None)
        if user is None or not user.is_active:
            return None
        try:
            self.enforce_csrf(request)
        except PermissionDenied:
            raise CsrfFailed() from None
        roles = dict(Membership.objects.across_tenants().filter(user=user).values_list("tenant_id", "role"))
        identity = f"user:{user.pk}"
        return user, Caller(actor=actor_of(user), identity=identity, roles=roles, user=user, person=identity)
