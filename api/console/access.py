"""Access to the console: the signed-in person, the tenant of the address, and the person's role in it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from django.contrib.auth.models import AnonymousUser, User
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponseBase, HttpResponseRedirect
from django.urls import reverse
from django.utils.translation import gettext

from backoffice.roles import ALL_ROLES
from tenants.choices import Role
from tenants.models import Membership, Tenant

LAST_TENANT = "console_tenant"
SAFE_METHODS = frozenset({"GET", "HEAD"})

View = Callable[..., HttpResponseBase]


class ConsoleRequest(HttpRequest):
    """A request of a signed-in person."""

    user: User


class TenantRequest(ConsoleRequest):
    """A request for a page of a tenant, an ``HttpRequest`` with two attributes more.

    ``role``: superusers have the owner's in every tenant.
    """

    tenant: Tenant
    role: Role


def has_role(role: Role, minimum: Role) -> bool:
    """Return whether ``role`` includes the rights of ``minimum``."""
    return ALL_ROLES.index(role) <= ALL_ROLES.index(minimum)


def signed_in(view: View) -> View:
    """Require a signed-in person; redirect others to the sign-in page."""

    @functools.wraps(view)
    def checked(request: ConsoleRequest, *args: Any, **values: Any) -> HttpResponseBase:
        return view(request, *args, **values) if request.user.is_authenticated else _to_sign_in(request)

    return checked


def operator_page(view: View) -> View:
    """Require an operator of the platform (superuser); 404 for others. The sidebar keeps the last tenant."""

    @signed_in
    @functools.wraps(view)
    def checked(request: ConsoleRequest, *args: Any, **values: Any) -> HttpResponseBase:
        if not request.user.is_superuser:
            raise Http404
        last = request.session.get(LAST_TENANT)
        if isinstance(last, str) and (access := tenant_access(request.user, last)) is not None:
            request.tenant, request.role = access  # type: ignore[attr-defined]  # for the navigation
        return view(request, *args, **values)

    return checked


def tenant_page(*, reads: Role = Role.VIEWER, changes: Role = Role.MEMBER) -> Callable[[View], View]:
    """Require a member of the tenant in the address, and pass the view a ``TenantRequest`` without its slug.

    ``reads``: the role for GET and HEAD. ``changes``: the role for other methods. Strangers get the same 404
    as for a tenant that doesn't exist; members without the role get 403.
    """

    def decorate(view: View) -> View:
        @signed_in
        @functools.wraps(view)
        def checked(request: TenantRequest, tenant: str, **values: Any) -> HttpResponseBase:
            enter_tenant(request, tenant)
            minimum = reads if request.method in SAFE_METHODS else changes
            if not has_role(request.role, minimum):
                raise PermissionDenied(
                    gettext("This needs the role “%(role)s” or a higher one.") % {"role": minimum.label}
                )
            return view(request, **values)

        return checked

    return decorate


def enter_tenant(request: HttpRequest, slug: str) -> None:
    """Set the request's tenant and role. Raises Http404 for strangers and unknown tenants alike."""
    access = tenant_access(request.user, slug)
    if access is None:
        raise Http404
    request.tenant, request.role = access  # type: ignore[attr-defined]  # of TenantRequest
    if request.session.get(LAST_TENANT) != slug:
        request.session[LAST_TENANT] = slug


def tenant_access(user: User | AnonymousUser, slug: str) -> tuple[Tenant, Role] | None:
    """Return the tenant with a short name and the person's role in it; None for strangers. One query."""
    if not user.is_authenticated or not user.is_active:
        return None
    if user.is_superuser:
        tenant = Tenant.objects.filter(slug=slug).first()
        return None if tenant is None else (tenant, Role.OWNER)
    membership = (
        Membership.objects.filter(user_id=user.pk, tenant__slug=slug).select_related("tenant").first()
    )
    return None if membership is None else (membership.tenant, Role(membership.role))


def tenants_of(user: User, limit: int = 50) -> list[Tenant]:
    """Return the tenants that a person may enter, by name."""
    tenants = Tenant.objects.order_by("name", "slug")
    if not user.is_superuser:
        tenants = tenants.filter(memberships__user=user)
    return list(tenants[:limit])


def _to_sign_in(request: HttpRequest) -> HttpResponseRedirect:
    target = request.get_full_path() if request.method in SAFE_METHODS else reverse("console:home")
    return HttpResponseRedirect(f"{reverse('console:sign-in')}?{urlencode({'next': target})}")
