"""Queries of tenants, keys, usage and audit."""

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

    TenantWithCounts: TypeAlias = WithAnnotations[Tenant, _Counts]


class KeyState(models.TextChoices):
    """States of a key, computed from its expiry and revocation times."""

    VALID = "valid", _("valid")
    EXPIRED = "expired", _("expired")
    REVOKED = "revoked", _("revoked")


@dataclass(frozen=True, slots=True)
class KeyPrincipal:
    """Identity and rights of an API key, as gateways check and cache them."""

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
    """Return the principal of the key with this public prefix, None if it does not exist. One query.

    Includes revoked and expired keys, so that the caller can distinguish them from unknown ones.
    """
    return key_principals([prefix]).get(prefix)


def key_principals(prefixes: Sequence[str]) -> dict[str, KeyPrincipal]:
    """Return the principals of the existing keys by prefix, in one query."""
    rows = ApiKey.objects.select_related("tenant").filter(prefix__in=prefixes)
    return {key.prefix: _principal(key) for key in rows}


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
    """Return the key's state at ``now``, regardless of its tenant."""
    if key.revoked_at is not None:
        return KeyState.REVOKED
    if key.expires_at is not None and key.expires_at <= now:
        return KeyState.EXPIRED
    return KeyState.VALID


def key_state_condition(state: KeyState, now: dt.datetime) -> Q:
    """Return the query condition for keys in ``state`` at ``now``."""
    revoked, expired = Q(revoked_at__isnull=False), Q(expires_at__lte=now)
    match state:
        case KeyState.REVOKED:
            return revoked
        case KeyState.EXPIRED:
            return ~revoked & expired
        case KeyState.VALID:
            return ~revoked & ~expired


def tenant_by_slug(slug: str) -> Tenant | None:
    """Return the tenant with this short name, None if it does not exist."""
    return Tenant.objects.filter(slug=slug).first()


def tenant_slugs() -> list[str]:
    """Return the short names of all tenants in alphabetical order."""
    return list(Tenant.objects.order_by("slug").values_list("slug", flat=True))


def tenant_names() -> dict[uuid.UUID, str]:
    """Return the short names of all tenants by id, in alphabetical order."""
    return dict(Tenant.objects.order_by("slug").values_list("id", "slug"))


def tenants_with_counts(now: dt.datetime) -> QuerySet[TenantWithCounts]:
    """Return tenants annotated with ``key_count``, the keys valid at ``now``, and ``member_count``."""
    valid = ApiKey.objects.filter(key_state_condition(KeyState.VALID, now), tenant=OuterRef("pk"))
    members = Membership.objects.filter(tenant=OuterRef("pk"))
    return Tenant.objects.annotate(key_count=_count_by_tenant(valid), member_count=_count_by_tenant(members))


def _count_by_tenant(rows: QuerySet[Any]) -> Coalesce:
    # A subquery, because joining two tables at once would multiply the counts.
    grouped = rows.order_by().values("tenant").annotate(count=Count("pk")).values("count")
    return Coalesce(Subquery(grouped), 0)


def keys(*, tenant: Tenant | None = None) -> QuerySet[ApiKey]:
    """Return one tenant's or all keys, with their tenants."""
    rows = ApiKey.objects.select_related("tenant", "replaced_by")
    return rows if tenant is None else rows.filter(tenant=tenant)


def key_prefixes() -> list[str]:
    """Return the public prefixes of all keys."""
    return list(ApiKey.objects.values_list("prefix", flat=True))


def user_by_name(username: str) -> User | None:
    """Return the user with this name, None if it does not exist."""
    return User.objects.filter(username=username).first()


def usernames() -> list[str]:
    """Return the names of all users."""
    return list(User.objects.values_list("username", flat=True))


def memberships(*, tenant: Tenant) -> QuerySet[Membership]:
    """Return a tenant's memberships with their users, by user name."""
    return tenant.memberships.select_related("user").order_by("user__username")


def usage_records(
    *,
    tenant: Tenant | None = None,
    since: dt.datetime | None = None,
    model: str | None = None,
    request_id: str | None = None,
) -> QuerySet[UsageRecord]:
    """Return usage records with tenant and key, newest first."""
    records = UsageRecord.objects.select_related("tenant", "key").order_by("-started_at", "-id")
    if tenant is not None:
        records = records.filter(tenant=tenant)
    if since is not None:
        records = records.filter(started_at__gte=since)
    if model is not None:
        records = records.filter(model=model)
    if request_id is not None:
        records = records.filter(request_id=request_id)
    return records


def audit_records(
    *,
    tenant: Tenant | None = None,
    since: dt.datetime | None = None,
    outcome: str | None = None,
    correlation_id: str | None = None,
) -> QuerySet[AuditRecord]:
    """Return audit records of API requests with their tenants, newest first."""
    records = AuditRecord.objects.select_related("tenant").order_by("-at", "-id")
    if tenant is not None:
        records = records.filter(tenant=tenant)
    if since is not None:
        records = records.filter(at__gte=since)
    if outcome is not None:
        records = records.filter(outcome=outcome)
    if correlation_id is not None:
        records = records.filter(correlation_id=correlation_id)
    return records


def admin_changes_with_tenant() -> QuerySet[AdminAudit]:
    """Return administrative changes annotated with ``tenant_slug``, None if the tenant is gone."""
    slug = Tenant.objects.filter(id=OuterRef("tenant_id")).values("slug")
    return AdminAudit.objects.annotate(tenant_slug=Subquery(slug))


def admin_changes(*, tenant: Tenant | None = None, since: dt.datetime | None = None) -> QuerySet[AdminAudit]:
    """Return administrative changes, newest first."""
    changes = AdminAudit.objects.order_by("-id")
    if tenant is not None:
        changes = changes.filter(tenant_id=tenant.id)
    if since is not None:
        changes = changes.filter(at__gte=since)
    return changes
