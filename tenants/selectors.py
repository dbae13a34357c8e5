"""Reads of tenants, keys, usage and audit."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias, TypedDict

from django.contrib.auth.models import User
from django.db import models
from django.db.models import Count, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.utils.translation import gettext_lazy as _

from tenants.models import AdminAudit, ApiKey, AuditRecord, Membership, Tenant, UsageRecord

if TYPE_CHECKING:
    from django_stubs_ext import WithAnnotations

    class _Counts(TypedDict):
        key_count: int
        member_count: int

    CountedTenant: TypeAlias = WithAnnotations[Tenant, _Counts]


class KeyState(models.TextChoices):
    """What a key's times amount to; never stored."""

    VALID = "valid", _("valid")
    EXPIRED = "expired", _("expired")
    REVOKED = "revoked", _("revoked")


@dataclass(frozen=True, slots=True)
class KeyPrincipal:
    """Whom a key stands for, as far as requests need it; gateways cache this."""

    key_id: uuid.UUID
    key_prefix: str
    secret_hash: str = field(repr=False)
    tenant_id: uuid.UUID
    tenant_slug: str
    scopes: frozenset[str]
    expires_at: dt.datetime | None
    revoked_at: dt.datetime | None
    tenant_active: bool


def key_principal(prefix: str) -> KeyPrincipal | None:
    """The principal of the key with this public prefix, in one query; None if there is none.

    Revoked and expired keys are found too: the caller tells these apart from unknown ones.
    """
    return key_principals([prefix]).get(prefix)


def key_principals(prefixes: Sequence[str]) -> dict[str, KeyPrincipal]:
    """The principals of all these keys by prefix, in one query; unknown ones are left out."""
    found = ApiKey.objects.select_related("tenant").filter(prefix__in=prefixes)
    return {key.prefix: _principal(key) for key in found}


def _principal(key: ApiKey) -> KeyPrincipal:
    return KeyPrincipal(
        key_id=key.id,
        key_prefix=key.prefix,
        secret_hash=key.secret_hash,
        tenant_id=key.tenant_id,
        tenant_slug=key.tenant.slug,
        scopes=frozenset(key.scopes),
        expires_at=key.expires_at,
        revoked_at=key.revoked_at,
        tenant_active=key.tenant.active,
    )


def key_state(key: ApiKey, now: dt.datetime) -> KeyState:
    """Whether the key is accepted at ``now``, its tenant aside."""
    if key.revoked_at is not None:
        return KeyState.REVOKED
    if key.expires_at is not None and key.expires_at <= now:
        return KeyState.EXPIRED
    return KeyState.VALID


def key_state_is(state: KeyState, now: dt.datetime) -> Q:
    """The condition that ``key_state`` is this one at ``now``."""
    revoked, expired = Q(revoked_at__isnull=False), Q(expires_at__lte=now)
    match state:
        case KeyState.REVOKED:
            return revoked
        case KeyState.EXPIRED:
            return ~revoked & expired
        case KeyState.VALID:
            return ~revoked & ~expired


def tenant_by_slug(slug: str) -> Tenant | None:
    """The tenant with this short name."""
    return Tenant.objects.filter(slug=slug).first()


def tenant_slugs() -> list[str]:
    """The short names of all tenants, in order."""
    return list(Tenant.objects.order_by("slug").values_list("slug", flat=True))


def tenant_names() -> dict[uuid.UUID, str]:
    """The short names of all tenants by id, in order."""
    return dict(Tenant.objects.order_by("slug").values_list("id", "slug"))


def tenants_counted(now: dt.datetime) -> QuerySet[CountedTenant]:
    """Tenants with ``key_count``, their keys valid at ``now``, and ``member_count``."""
    valid = ApiKey.objects.filter(key_state_is(KeyState.VALID, now), tenant=OuterRef("pk"))
    members = Membership.objects.filter(tenant=OuterRef("pk"))
    return Tenant.objects.annotate(key_count=_counted(valid), member_count=_counted(members))


def _counted(rows: QuerySet[Any]) -> Coalesce:
    # By subqueries: joining two kinds of rows and counting each would multiply them.
    grouped = rows.order_by().values("tenant").annotate(count=Count("pk")).values("count")
    return Coalesce(Subquery(grouped), 0)


def keys(*, tenant: Tenant | None = None) -> QuerySet[ApiKey]:
    """Keys with their tenants, one tenant's or all."""
    found = ApiKey.objects.select_related("tenant", "replaced_by")
    return found if tenant is None else found.filter(tenant=tenant)


def key_prefixes() -> list[str]:
    """The public parts of all keys."""
    return list(ApiKey.objects.values_list("prefix", flat=True))


def user_by_name(username: str) -> User | None:
    """The person with this name."""
    return User.objects.filter(username=username).first()


def usernames() -> list[str]:
    """The names of all people."""
    return list(User.objects.values_list("username", flat=True))


def memberships(*, tenant: Tenant) -> QuerySet[Membership]:
    """A tenant's members with their users, by name."""
    return tenant.memberships.select_related("user").order_by("user__username")


def usage_records(
    *,
    tenant: Tenant | None = None,
    since: dt.datetime | None = None,
    model: str | None = None,
    request_id: str | None = None,
) -> QuerySet[UsageRecord]:
    """Usage records with tenant and key, newest first."""
    found = UsageRecord.objects.select_related("tenant", "key").order_by("-started_at", "-id")
    if tenant is not None:
        found = found.filter(tenant=tenant)
    if since is not None:
        found = found.filter(started_at__gte=since)
    if model is not None:
        found = found.filter(model=model)
    if request_id is not None:
        found = found.filter(request_id=request_id)
    return found


def audit_records(
    *,
    tenant: Tenant | None = None,
    since: dt.datetime | None = None,
    outcome: str | None = None,
    correlation_id: str | None = None,
) -> QuerySet[AuditRecord]:
    """Audit records of API requests with their tenants, newest first."""
    found = AuditRecord.objects.select_related("tenant").order_by("-at", "-id")
    if tenant is not None:
        found = found.filter(tenant=tenant)
    if since is not None:
        found = found.filter(at__gte=since)
    if outcome is not None:
        found = found.filter(outcome=outcome)
    if correlation_id is not None:
        found = found.filter(correlation_id=correlation_id)
    return found


def admin_changes_named() -> QuerySet[AdminAudit]:
    """Administrative changes with ``tenant_slug``, where the tenant of the change still exists."""
    slug = Tenant.objects.filter(id=OuterRef("tenant_id")).values("slug")
    return AdminAudit.objects.annotate(tenant_slug=Subquery(slug))


def admin_changes(*, tenant: Tenant | None = None, since: dt.datetime | None = None) -> QuerySet[AdminAudit]:
    """Administrative changes, newest first."""
    found = AdminAudit.objects.order_by("-id")
    if tenant is not None:
        found = found.filter(tenant_id=tenant.id)
    if since is not None:
        found = found.filter(at__gte=since)
    return found
