"""Rules of the roles: what a member may do in a tenant. Pages, the admin API and the admin all use these."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from backoffice.roles import MANAGERS, OWNERS, USERS
from tenants.choices import ADMIN_SCOPES

if TYPE_CHECKING:
    from tenants.models import ApiKey


def can_create_keys(role: str) -> bool:
    """Return whether the role may create keys for itself."""
    return role in USERS


def can_manage_keys_of(role: str, *, is_own: bool) -> bool:
    """Return whether the role may change, rotate and revoke a key: managers all, members their own."""
    return role in MANAGERS or (is_own and role in USERS)


def can_manage_key(role: str, user_id: int, key: ApiKey) -> bool:
    """Return whether a person with this role in the key's tenant may change, rotate and revoke it."""
    return can_manage_keys_of(role, is_own=key.user_id == user_id)


def can_manage_service_accounts(role: str) -> bool:
    """Return whether the role may create and delete service accounts, and keys of them."""
    return role in MANAGERS


def can_manage_members(role: str) -> bool:
    """Return whether the role may add and remove members and change their roles."""
    return role in OWNERS


def can_use(role: str) -> bool:
    """Return whether the role may run models, and manage files and jobs."""
    return role in USERS


def can_grant_scopes(role: str, scopes: Collection[str]) -> bool:
    """Return whether the role may give a key these scopes. Only managers may give those of administration."""
    return role in MANAGERS or ADMIN_SCOPES.isdisjoint(scopes)
