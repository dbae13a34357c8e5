"""Lookup of the tenants, users and keys named on the command line."""

from __future__ import annotations

from django.contrib.auth.models import User

from backoffice.command_base import unknown_name
from tenants import selectors
from tenants.keys import selectors as key_selectors
from tenants.keys.secrets import key_prefix
from tenants.members import selectors as member_selectors
from tenants.models import ApiKey, ServiceAccount, Tenant


def tenant_by_name(slug: str) -> Tenant:
    """Return the tenant with this short name. Raises CommandError."""
    tenant = selectors.tenant_by_slug(slug)
    if tenant is None:
        remedy = "Run `manage.py tenants list` to see all."
        raise unknown_name("tenant", slug, selectors.tenant_slugs(), remedy)
    return tenant


def tenant_filter(slug: str | None) -> Tenant | None:
    """Return the tenant to filter by, None for all tenants. Raises CommandError."""
    return tenant_by_name(slug) if slug else None


def user_by_name(username: str) -> User:
    """Return the user with this name. Raises CommandError."""
    user = member_selectors.user_by_name(username)
    if user is None:
        remedy = "Add the account in the admin, at Users; `manage.py createsuperuser` adds an operator."
        raise unknown_name("user", username, member_selectors.usernames(), remedy)
    return user


def service_account_by_name(tenant: Tenant, name: str) -> ServiceAccount:
    """Return the tenant's service account with this name. Raises CommandError."""
    accounts = {account.name: account for account in member_selectors.service_accounts(tenant=tenant)}
    if name not in accounts:
        remedy = f"Run `manage.py tenants accounts {tenant.slug}` to see all."
        raise unknown_name("service account", name, accounts, remedy)
    return accounts[name]


def key_by_prefix(text: str) -> ApiKey:
    """Return the key with this prefix or complete text. Raises CommandError, never with a secret."""
    prefix = key_prefix(text)
    key = key_selectors.keys().filter(prefix=prefix).first()
    if key is None:
        remedy = "Run `manage.py keys list` to see all."
        raise unknown_name("key", prefix[:12], key_selectors.key_prefixes(), remedy)
    return key
