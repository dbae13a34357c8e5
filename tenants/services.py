"""Everything that changes tenants, members and keys: row, audit row and push belong together."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Collection
from typing import TypedDict, Unpack

from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from tenants.admin_audit import admin_audit_record
from tenants.choices import Role, Scope
from tenants.keys import NewKey, key_draw
from tenants.models import ApiKey, Membership, Tenant
from tenants.push import key_push, tenant_push

DEFAULT_SCOPES = (Scope.INFERENCE, Scope.MODELS_READ)
MAX_GRACE_S = 90 * 24 * 3600


class TenantChanges(TypedDict, total=False):
    """What of a tenant can be changed."""

    slug: str
    name: str
    active: bool


class KeyChanges(TypedDict, total=False):
    """What of a key can be changed; ``expires_at`` None means for ever."""

    name: str
    scopes: Collection[str]
    expires_at: dt.datetime | None


def _tenant_facts(tenant: Tenant) -> dict[str, object]:
    return {"slug": tenant.slug, "name": tenant.name, "active": tenant.active}


def _iso(moment: dt.datetime | None) -> str | None:
    return moment.isoformat() if moment else None


def _key_facts(key: ApiKey) -> dict[str, object]:
    return {
        "name": key.name,
        "prefix": key.prefix,
        "scopes": list(key.scopes),
        "expires_at": _iso(key.expires_at),
        "revoked_at": _iso(key.revoked_at),
    }


@transaction.atomic
def tenant_create(*, slug: str, name: str, actor: str) -> Tenant:
    """A new, active tenant. Raises ValidationError (bad or taken slug, empty name)."""
    tenant = Tenant(slug=slug, name=name)
    tenant.full_clean()
    tenant.save(force_insert=True)
    admin_audit_record(
        actor=actor,
        action="tenant.create",
        object_id=str(tenant.id),
        object_name=tenant.slug,
        tenant_id=tenant.id,
        after=_tenant_facts(tenant),
    )
    return tenant


@transaction.atomic
def tenant_update(*, tenant_id: uuid.UUID, actor: str, **changes: Unpack[TenantChanges]) -> Tenant:
    """Change a tenant. Making it inactive refuses all its keys. Raises ValidationError, DoesNotExist."""
    tenant = Tenant.objects.select_for_update().get(id=tenant_id)
    before = _tenant_facts(tenant)
    tenant.slug = changes.get("slug", tenant.slug)
    tenant.name = changes.get("name", tenant.name)
    tenant.active = changes.get("active", tenant.active)
    after = _tenant_facts(tenant)
    if after == before:
        return tenant
    tenant.full_clean()
    tenant.save()
    admin_audit_record(
        actor=actor,
        action="tenant.update",
        object_id=str(tenant.id),
        object_name=tenant.slug,
        tenant_id=tenant.id,
        before=before,
        after=after,
    )
    tenant_push(tenant.id)
    return tenant


@transaction.atomic
def membership_set(*, tenant: Tenant, user: User, role: str, actor: str) -> Membership:
    """Make ``user`` a member with ``role``, or change the role. Raises ValidationError."""
    if role not in Role.values:
        raise ValidationError(
            _("%(role)s is no role; roles are %(roles)s."),
            code="unknown_role",
            params={"role": role, "roles": ", ".join(Role.values)},
        )
    # The tenant's row is the lock: two first settings for one person come one after the other.
    Tenant.objects.select_for_update().get(id=tenant.id)
    membership = Membership.objects.filter(tenant=tenant, user=user).first()
    before = {"role": membership.role} if membership else None
    if before == {"role": role} and membership:
        return membership
    membership = membership or Membership(tenant=tenant, user=user)
    membership.role = role
    membership.save()
    admin_audit_record(
        actor=actor,
        action="membership.set",
        object_id=str(membership.pk),
        object_name=f"{user.get_username()} @ {tenant.slug}",
        tenant_id=tenant.id,
        before=before,
        after={"role": role},
    )
    return membership


@transaction.atomic
def membership_remove(*, tenant: Tenant, user: User, actor: str) -> None:
    """End a membership. Raises Membership.DoesNotExist."""
    membership = Membership.objects.select_for_update().get(tenant=tenant, user=user)
    admin_audit_record(
        actor=actor,
        action="membership.remove",
        object_id=str(membership.pk),
        object_name=f"{user.get_username()} @ {tenant.slug}",
        tenant_id=tenant.id,
        before={"role": membership.role},
    )
    membership.delete()


def _key_save(key: ApiKey, *, action: str, actor: str, before: dict[str, object] | None) -> None:
    key.full_clean(validate_unique=False)
    key.save()
    admin_audit_record(
        actor=actor,
        action=action,
        object_id=str(key.id),
        object_name=f"{key.name} ({key.prefix})",
        tenant_id=key.tenant_id,
        before=before,
        after=_key_facts(key),
    )
    key_push(key.prefix)


def _key_of(tenant: Tenant, drawn: NewKey, *, name: str, scopes: Collection[str]) -> ApiKey:
    if not scopes:
        raise ValidationError({"scopes": _("A key needs at least one scope.")})
    return ApiKey(
        tenant=tenant,
        name=name,
        prefix=drawn.prefix,
        secret_hash=drawn.secret_hash,
        scopes=sorted(set(scopes)),
    )


@transaction.atomic
def key_create(
    *,
    tenant: Tenant,
    name: str,
    actor: str,
    scopes: Collection[str] = DEFAULT_SCOPES,
    created_by: User | None = None,
    expires_at: dt.datetime | None = None,
) -> tuple[ApiKey, str]:
    """A new key and its secret, which is told this once and stored nowhere. Raises ValidationError."""
    drawn = key_draw()
    key = _key_of(tenant, drawn, name=name, scopes=scopes)
    key.created_by = created_by
    key.expires_at = expires_at
    _key_save(key, action="key.create", actor=actor, before=None)
    return key, drawn.secret


def _key_locked(key_id: uuid.UUID) -> ApiKey:
    key = ApiKey.objects.select_for_update(of=("self",)).select_related("tenant").get(id=key_id)
    if key.revoked_at is not None:
        raise ValidationError(
            _("Key %(prefix)s is revoked; create a new one."), code="revoked", params={"prefix": key.prefix}
        )
    return key


@transaction.atomic
def key_update(*, key_id: uuid.UUID, actor: str, **changes: Unpack[KeyChanges]) -> ApiKey:
    """Change name, scopes or expiry of a live key. Raises ValidationError, ApiKey.DoesNotExist."""
    key = _key_locked(key_id)
    before = _key_facts(key)
    key.name = changes.get("name", key.name)
    key.scopes = sorted(set(changes.get("scopes", key.scopes)))
    key.expires_at = changes.get("expires_at", key.expires_at)
    if not key.scopes:
        raise ValidationError({"scopes": _("A key needs at least one scope.")})
    if _key_facts(key) != before:
        _key_save(key, action="key.update", actor=actor, before=before)
    return key


@transaction.atomic
def key_revoke(*, key_id: uuid.UUID, actor: str) -> ApiKey:
    """End a key at once; a revoked key stays as it is. Raises ApiKey.DoesNotExist."""
    key = ApiKey.objects.select_for_update(of=("self",)).select_related("tenant").get(id=key_id)
    if key.revoked_at is None:
        before = _key_facts(key)
        key.revoked_at = timezone.now()
        _key_save(key, action="key.revoke", actor=actor, before=before)
    return key


@transaction.atomic
def key_rotate(
    *,
    key_id: uuid.UUID,
    grace_s: float,
    actor: str,
    created_by: User | None = None,
    expires_at: dt.datetime | None = None,
) -> tuple[ApiKey, str]:
    """A successor with the same name and scopes, and its secret; its expiry is the old one unless given.

    The old key stays valid for ``grace_s`` seconds more, or until its own expiry where that is
    sooner. Raises ValidationError (revoked, expired, rotated before), ApiKey.DoesNotExist.
    """
    if not 0 <= grace_s <= MAX_GRACE_S:
        raise ValidationError(_("The grace time must lie between 0 and %(max)s s.") % {"max": MAX_GRACE_S})
    old = _key_locked(key_id)
    now = timezone.now()
    if old.expires_at is not None and old.expires_at <= now:
        raise ValidationError(_("Key %(prefix)s has expired; create a new one.") % {"prefix": old.prefix})
    successor = ApiKey.objects.filter(replaces=old).first()
    if successor is not None:
        raise ValidationError(
            _("Key %(old)s was rotated before; its successor is %(new)s.")
            % {"old": old.prefix, "new": successor.prefix}
        )
    drawn = key_draw()
    new = _key_of(old.tenant, drawn, name=old.name, scopes=old.scopes)
    new.created_by = created_by
    new.replaces = old
    new.expires_at = old.expires_at if expires_at is None else expires_at
    _key_save(new, action="key.create", actor=actor, before=None)
    before = _key_facts(old)
    end = now + dt.timedelta(seconds=grace_s)
    old.expires_at = end if old.expires_at is None else min(old.expires_at, end)
    _key_save(old, action="key.rotate", actor=actor, before=before)
    return new, drawn.secret
