"""Changes of tenants, members and keys; each commits its audit record and then notifies the gateways."""

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
from tenants.keys import NewKey, key_generate
from tenants.models import ApiKey, Membership, Tenant
from tenants.publish import key_publish, tenant_publish

DEFAULT_SCOPES = (Scope.INFERENCE, Scope.MODELS_READ)
MAX_GRACE_S = 90 * 24 * 3600


class TenantChanges(TypedDict, total=False):
    """The columns of a tenant that can be changed."""

    slug: str
    name: str
    active: bool


class KeyChanges(TypedDict, total=False):
    """The columns of a key that can be changed; ``expires_at`` None means that it never expires."""

    name: str
    scopes: Collection[str]
    expires_at: dt.datetime | None


def _tenant_values(tenant: Tenant) -> dict[str, object]:
    return {"slug": tenant.slug, "name": tenant.name, "active": tenant.active}


def _iso(moment: dt.datetime | None) -> str | None:
    return moment.isoformat() if moment else None


def _key_values(key: ApiKey) -> dict[str, object]:
    return {
        "name": key.name,
        "prefix": key.prefix,
        "scopes": list(key.scopes),
        "expires_at": _iso(key.expires_at),
        "revoked_at": _iso(key.revoked_at),
    }


@transaction.atomic
def tenant_create(*, slug: str, name: str, actor: str) -> Tenant:
    """Create an active tenant. Raises ValidationError (bad or taken slug, empty name)."""
    tenant = Tenant(slug=slug, name=name)
    tenant.full_clean()
    tenant.save(force_insert=True)
    _tenant_audit(tenant, action="tenant.create", actor=actor, before=None)
    return tenant


@transaction.atomic
def tenant_update(*, tenant_id: uuid.UUID, actor: str, **changes: Unpack[TenantChanges]) -> Tenant:
    """Change a tenant. Deactivating it disables all its keys. Raises ValidationError, DoesNotExist."""
    tenant = Tenant.objects.select_for_update().get(id=tenant_id)
    before = _tenant_values(tenant)
    tenant.slug = changes.get("slug", tenant.slug)
    tenant.name = changes.get("name", tenant.name)
    tenant.active = changes.get("active", tenant.active)
    if _tenant_values(tenant) == before:
        return tenant
    tenant.full_clean()
    tenant.save()
    _tenant_audit(tenant, action="tenant.update", actor=actor, before=before)
    tenant_publish(tenant.id)
    return tenant


def _tenant_audit(tenant: Tenant, *, action: str, actor: str, before: dict[str, object] | None) -> None:
    admin_audit_record(
        actor=actor,
        action=action,
        object_id=str(tenant.id),
        object_name=tenant.slug,
        tenant_id=tenant.id,
        before=before,
        after=_tenant_values(tenant),
    )


@transaction.atomic
def membership_set(*, tenant: Tenant, user: User, role: str, actor: str) -> Membership:
    """Add ``user`` as a member with ``role``, or change the role. Raises ValidationError."""
    if role not in Role.values:
        raise ValidationError(
            _("%(role)s is not a role. Choose one of %(roles)s."),
            code="unknown_role",
            params={"role": role, "roles": ", ".join(Role.values)},
        )
    # Locking the tenant's row serializes concurrent calls for a user who is not a member yet.
    Tenant.objects.select_for_update().get(id=tenant.id)
    membership = Membership.objects.filter(tenant=tenant, user=user).first()
    old_role = membership.role if membership else None
    if membership and old_role == role:
        return membership
    membership = membership or Membership()
    membership.tenant, membership.user, membership.role = tenant, user, role
    membership.save()
    _membership_audit(membership, action="membership.set", actor=actor, before=old_role, after=role)
    return membership


@transaction.atomic
def membership_remove(*, tenant: Tenant, user: User, actor: str) -> None:
    """Remove a member from a tenant. Raises Membership.DoesNotExist."""
    locked = Membership.objects.select_for_update(of=("self",)).select_related("tenant", "user")
    membership = locked.get(tenant=tenant, user=user)
    role = membership.role
    _membership_audit(membership, action="membership.remove", actor=actor, before=role, after=None)
    membership.delete()


def _membership_audit(
    membership: Membership, *, action: str, actor: str, before: str | None, after: str | None
) -> None:
    admin_audit_record(
        actor=actor,
        action=action,
        object_id=str(membership.pk),
        object_name=f"{membership.user.get_username()} @ {membership.tenant.slug}",
        tenant_id=membership.tenant_id,
        before={"role": before} if before else None,
        after={"role": after} if after else None,
    )


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
        after=_key_values(key),
    )
    key_publish(key.prefix)


def _unsaved_key(tenant: Tenant, new: NewKey, *, name: str, scopes: Collection[str]) -> ApiKey:
    if not scopes:
        raise ValidationError({"scopes": _("A key needs at least one scope.")})
    return ApiKey(
        tenant=tenant,
        name=name,
        prefix=new.prefix,
        secret_hash=new.secret_hash,
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
    """Create a key. Returns it with its secret, which is stored nowhere. Raises ValidationError."""
    new = key_generate()
    key = _unsaved_key(tenant, new, name=name, scopes=scopes)
    key.created_by = created_by
    key.expires_at = expires_at
    _key_save(key, action="key.create", actor=actor, before=None)
    return key, new.secret


def _locked_key(key_id: uuid.UUID) -> ApiKey:
    return ApiKey.objects.select_for_update(of=("self",)).select_related("tenant").get(id=key_id)


def _locked_live_key(key_id: uuid.UUID) -> ApiKey:
    key = _locked_key(key_id)
    if key.revoked_at is not None:
        raise ValidationError(
            _("Key %(prefix)s is revoked. Create a new key."), code="revoked", params={"prefix": key.prefix}
        )
    return key


@transaction.atomic
def key_update(*, key_id: uuid.UUID, actor: str, **changes: Unpack[KeyChanges]) -> ApiKey:
    """Change name, scopes or expiry of an unrevoked key. Raises ValidationError, ApiKey.DoesNotExist."""
    key = _locked_live_key(key_id)
    before = _key_values(key)
    key.name = changes.get("name", key.name)
    key.scopes = sorted(set(changes.get("scopes", key.scopes)))
    key.expires_at = changes.get("expires_at", key.expires_at)
    if not key.scopes:
        raise ValidationError({"scopes": _("A key needs at least one scope.")})
    if _key_values(key) != before:
        _key_save(key, action="key.update", actor=actor, before=before)
    return key


@transaction.atomic
def key_revoke(*, key_id: uuid.UUID, actor: str) -> ApiKey:
    """Revoke a key immediately; a revoked key stays unchanged. Raises ApiKey.DoesNotExist."""
    key = _locked_key(key_id)
    if key.revoked_at is None:
        before = _key_values(key)
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
    """Create a successor with the same name and scopes. Returns it with its secret.

    The successor inherits the old key's expiry unless ``expires_at`` is set. The old key stays valid for
    ``grace_s`` seconds, or until its own expiry if that is sooner. Raises ValidationError (revoked,
    expired, already rotated), ApiKey.DoesNotExist.
    """
    if not 0 <= grace_s <= MAX_GRACE_S:
        raise ValidationError(_("The grace period must be 0 to %(max)s seconds.") % {"max": MAX_GRACE_S})
    old, now = _locked_live_key(key_id), timezone.now()
    _check_rotation(old, now)
    new = key_generate()
    successor = _unsaved_key(old.tenant, new, name=old.name, scopes=old.scopes)
    successor.created_by = created_by
    successor.replaces = old
    successor.expires_at = old.expires_at if expires_at is None else expires_at
    _key_save(successor, action="key.create", actor=actor, before=None)
    _shorten_rotated_key(old, now + dt.timedelta(seconds=grace_s), actor=actor)
    return successor, new.secret


def _check_rotation(key: ApiKey, now: dt.datetime) -> None:
    if key.expires_at is not None and key.expires_at <= now:
        raise ValidationError(_("Key %(prefix)s has expired. Create a new key.") % {"prefix": key.prefix})
    successor = ApiKey.objects.filter(replaces=key).first()
    if successor is not None:
        raise ValidationError(
            _("Key %(old)s has already been rotated. Its successor is %(new)s.")
            % {"old": key.prefix, "new": successor.prefix}
        )


def _shorten_rotated_key(key: ApiKey, grace_end: dt.datetime, *, actor: str) -> None:
    before = _key_values(key)
    key.expires_at = grace_end if key.expires_at is None else min(key.expires_at, grace_end)
    _key_save(key, action="key.rotate", actor=actor, before=before)
