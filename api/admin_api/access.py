"""Rules of the views: the roles that may call a method, and their refusal."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from django.core.exceptions import ValidationError

from api.admin_api.callers import Caller
from api.key_checks import CHALLENGE
from api.openai.errors.access import MissingApiKey
from api.openai.errors.administration import InsufficientRole, ObjectNotFound
from api.openai.errors.base import printable
from backoffice.roles import ALL_ROLES, MANAGERS, OWNERS, USERS
from tenants.models import Tenant


@dataclass(frozen=True, slots=True)
class Rule:
    """The roles in a tenant that may call a method. ``is_public``: without authentication.

    No role means operators of the platform, who may call everything.
    """

    name: str
    roles: tuple[str, ...] = ()
    is_public: bool = False


PUBLIC = Rule("public", is_public=True)
READ = Rule("any role", ALL_ROLES)
USE = Rule("the role member, admin or owner", USERS)
MANAGE = Rule("the role admin or owner, or a key with the scope admin", MANAGERS)
OWN = Rule("the role owner", OWNERS)
RENAME = Rule("the role owner to change the name, and an operator of the platform for all else", OWNERS)
OPERATE = Rule("an operator of the platform (superuser)")


def check_caller(caller: Caller | None, rule: Rule) -> Caller:
    """Return the caller if it may call a method outside any tenant. Raises ApiError."""
    if caller is None:
        raise MissingApiKey(headers=CHALLENGE)
    if not caller.is_operator and not any(role in rule.roles for role in caller.roles.values()):
        raise InsufficientRole(required=rule.name, role=_roles(caller))
    return caller


def _roles(caller: Caller) -> str:
    roles = sorted(set(map(str, caller.roles.values())))
    return f"the role {' and '.join(roles)}" if roles else "no role in any tenant"


def tenant_of_caller(caller: Caller, name: str, rule: Rule) -> Tenant:
    """Return the tenant with an id or short name if the caller's role in it satisfies the rule.

    Raises ObjectNotFound for strangers and unknown tenants alike, InsufficientRole.
    """
    tenant = _tenant(name)
    role = caller.role(tenant.pk) if tenant else None
    if tenant is None or role is None:
        raise ObjectNotFound(kind="tenant", name=printable(name))
    if not caller.is_operator and role not in rule.roles:
        raise InsufficientRole(required=rule.name, role=f"the role {role}")
    return tenant


def _tenant(name: str) -> Tenant | None:
    try:
        return Tenant.objects.filter(pk=uuid.UUID(name)).first()
    except (ValueError, ValidationError):
        return Tenant.objects.filter(slug=name).first()
