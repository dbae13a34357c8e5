"""Queries of members, service accounts and users."""

from __future__ import annotations

import uuid
from collections.abc import Collection

from django.contrib.auth.models import User
from django.db.models import QuerySet

from tenants.models import Membership, ServiceAccount, Tenant


def tenants_of_user(user_id: int, roles: Collection[str]) -> QuerySet[Membership, uuid.UUID]:
    """Return the ids of the tenants in which the user has one of ``roles``."""
    return Membership.objects.filter(user_id=user_id, role__in=roles).values_list("tenant_id", flat=True)


def memberships(*, tenant: Tenant) -> QuerySet[Membership]:
    """Return a tenant's memberships with their users, by user name."""
    return tenant.memberships.select_related("user").order_by("user__username")


def service_accounts(*, tenant: Tenant) -> QuerySet[ServiceAccount]:
    """Return the tenant's service accounts by name."""
    return ServiceAccount.objects.filter(tenant=tenant).order_by("name")


def user_by_name(username: str) -> User | None:
    """Return the user with this name, None if it does not exist."""
    return User.objects.filter(username=username).first()


def usernames() -> list[str]:
    """Return the names of all users."""
    return list(User.objects.values_list("username", flat=True))
