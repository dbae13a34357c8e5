"""Changes of API keys; each commits its audit record and then notifies the gateways."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Collection, Iterable
from typing import Unpack

from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from backoffice.roles import MANAGERS
from tenants.audit_trail.changes import admin_audit_record
from tenants.choices import ADMIN_SCOPES, Role, Scope
from tenants.invalidation import key_publish
from tenants.keys.changes import KeyChanges, KeySettings, key_apply, key_values
from tenants.keys.secrets import key_generate
from tenants.limits.changes import LIMIT_FIELDS
from tenants.models import ApiKey, Membership, ServiceAccount, Tenant

DEFAULT_SCOPES = (Scope.INFERENCE, Scope.MODELS_READ, Scope.FILES, Scope.FINE_TUNING)
MAX_GRACE_S = 90 * 24 * 3600
# A successor has its predecessor's settings.
_INHERITED = (
    *("name", "scopes", "user", "service_account", "allowed_networks"),
    *LIMIT_FIELDS,
)


def key_save(key: ApiKey, *, action: str, actor: str, before: dict[str, object] | None) -> None:
    """Validate, save, audit and publish a key, in the caller's transaction."""
    key.full_clean(validate_unique=False)
    key.save()
    admin_audit_record(
        actor=actor,
        action=action,
        object_id=str(key.id),
        object_name=f"{key.name} ({key.prefix})",
        tenant_id=key.tenant_id,
        before=before,
        after=key_values(key),
    )
    key_publish(key.prefix)


@transaction.atomic
def key_create(
    *,
    tenant: Tenant,
    name: str,
    actor: str,
    scopes: Collection[str] = DEFAULT_SCOPES,
    created_by: User | None = None,
    user: User | None = None,
    service_account: ServiceAccount | None = None,
    is_of_tenant: bool = False,
    **settings: Unpack[KeySettings],
) -> tuple[ApiKey, str]:
    """Create a key. Returns it with its secret, which is stored nowhere. Raises ValidationError.

    It belongs to ``user``, a member of the tenant, or to one of its service accounts. Without either it
    belongs to ``created_by`` if that is a member, otherwise, or with ``is_of_tenant``, to the tenant as a
    whole.
    """
    new = key_generate()
    key = ApiKey(
        tenant=tenant, name=name, prefix=new.prefix, secret_hash=new.secret_hash, scopes=list(scopes)
    )
    key_apply(key, settings)
    key.created_by = created_by
    key.service_account = service_account
    key.user = user or member_or_none(tenant, None if service_account or is_of_tenant else created_by)
    check_holder(key)
    key_save(key, action="key.create", actor=actor, before=None)
    return key, new.secret


def member_or_none(tenant: Tenant, user: User | None) -> User | None:
    """Return the user who may hold a key of the tenant, None for others."""
    if user is None:
        return None
    # Viewers have no keys: a key that a platform operator creates as a viewer belongs to the tenant.
    members = Membership.objects.filter(tenant=tenant, user=user).exclude(role=Role.VIEWER)
    return user if members.exists() else None


def check_holder(key: ApiKey) -> None:
    """Check that the holder belongs to the key's tenant.

    Locks account and membership, or the service account, so a concurrent deactivation, removal or change of
    the role finds the new key to revoke.
    """
    if key.user is not None and key.service_account is not None:
        raise ValidationError(_("A key belongs to a person or to a service account, not to both."))
    if key.service_account is not None and key.service_account.tenant_id != key.tenant_id:
        raise ValidationError({"service_account": _("This service account belongs to another tenant.")})
    if key.service_account_id is not None and not _lock_service_account(key.service_account_id):
        raise ValidationError({"service_account": _("This service account has been deleted.")})
    if key.user is None:
        return
    account, membership = lock_holder(key.user.pk, key.tenant_id)
    if membership is None or not account.is_active:
        raise ValidationError({"user": _("%(user)s is not an active member.") % {"user": key.user}})
    if membership.role == Role.VIEWER:
        raise ValidationError(
            {"user": _("Viewers have no keys. Give %(user)s another role first.") % {"user": key.user}}
        )
    _check_scopes(key, account, membership)


def lock_holder(user_id: int, tenant_id: uuid.UUID) -> tuple[User, Membership | None]:
    """Lock a person's account and membership of a tenant, in this order, and before any of the keys."""
    account = User.objects.select_for_update(no_key=True).get(pk=user_id)
    members = Membership.objects.select_for_update(of=("self",)).filter(tenant=tenant_id, user=account)
    return account, members.first()


def _lock_service_account(account_id: uuid.UUID) -> bool:
    """Lock a service account; return whether it exists."""
    accounts = ServiceAccount.objects.select_for_update(no_key=True, of=("self",))
    return accounts.filter(pk=account_id).first() is not None


def _check_scopes(key: ApiKey, account: User, membership: Membership | None) -> None:
    """Check that the person who holds the key may administer the tenant if its scopes do."""
    role = membership.role if membership else None
    if role not in MANAGERS and not account.is_superuser and not ADMIN_SCOPES.isdisjoint(key.scopes):
        text = _("%(user)s needs the role “%(role)s” or a higher one to hold a key with these scopes.")
        raise ValidationError({"scopes": text % {"user": account, "role": Role.ADMIN.label}})


def _locked_key(key_id: uuid.UUID) -> ApiKey:
    rows = ApiKey.objects.select_for_update(of=("self",))
    return rows.select_related("tenant", "user", "service_account").get(id=key_id)


def key_lock(key_id: uuid.UUID) -> ApiKey:
    """Return a key, locked until the transaction ends. Raises ApiKey.DoesNotExist.

    Its holder is locked first, in the same order as when a membership ends and its keys are revoked.
    """
    key = ApiKey.objects.get(id=key_id)
    if key.user_id is not None:
        lock_holder(key.user_id, key.tenant_id)
    if key.service_account_id is not None:
        _lock_service_account(key.service_account_id)
    return _locked_key(key_id)


def _locked_live_key(key_id: uuid.UUID) -> ApiKey:
    key = key_lock(key_id)
    if key.revoked_at is not None:
        raise ValidationError(
            _("Key %(prefix)s is revoked. Create a new key."), code="revoked", params={"prefix": key.prefix}
        )
    return key


@transaction.atomic
def key_update(*, key_id: uuid.UUID, actor: str, **changes: Unpack[KeyChanges]) -> ApiKey:
    """Change columns of an unrevoked key. Raises ValidationError, ApiKey.DoesNotExist."""
    key = _locked_live_key(key_id)
    before, old_scopes = key_values(key), list(key.scopes)
    key_apply(key, changes)
    if key.user_id is not None and key.scopes != old_scopes:
        _check_scopes(key, *lock_holder(key.user_id, key.tenant_id))
    if key_values(key) != before:
        key_save(key, action="key.update", actor=actor, before=before)
    return key


@transaction.atomic
def key_revoke(*, key_id: uuid.UUID, actor: str) -> ApiKey:
    """Revoke a key immediately; a revoked key stays unchanged. Raises ApiKey.DoesNotExist."""
    key = _locked_key(key_id)
    if key.revoked_at is None:
        before = key_values(key)
        key.revoked_at = timezone.now()
        key_save(key, action="key.revoke", actor=actor, before=before)
    return key


def keys_revoke(keys: Iterable[ApiKey], *, actor: str) -> list[ApiKey]:
    """Revoke keys in the caller's transaction, in the order of their ids so that callers don't deadlock."""
    key_ids = sorted(key.pk for key in keys)
    return [key_revoke(key_id=key_id, actor=actor) for key_id in key_ids]


@transaction.atomic
def key_rotate(
    *,
    key_id: uuid.UUID,
    grace_s: float,
    actor: str,
    created_by: User | None = None,
    expires_at: dt.datetime | None = None,
) -> tuple[ApiKey, str]:
    """Create a successor with the same holder and settings. Returns it with its secret.

    The successor inherits the old key's expiry unless ``expires_at`` is set. The old key stays valid for
    ``grace_s`` seconds, or until its own expiry if that is sooner. Raises ValidationError (revoked,
    expired, already rotated), ApiKey.DoesNotExist.
    """
    if not 0 <= grace_s <= MAX_GRACE_S:
        raise ValidationError(_("The grace period must be 0 to %(max)s seconds.") % {"max": MAX_GRACE_S})
    # Locked before the key, in the same order as when a membership ends and its keys are revoked.
    _check_holder_of(key_id)
    old, now = _locked_live_key(key_id), timezone.now()
    _check_rotation(old, now)
    new = key_generate()
    successor = ApiKey(tenant=old.tenant, prefix=new.prefix, secret_hash=new.secret_hash)
    for name in _INHERITED:
        setattr(successor, name, getattr(old, name))
    successor.created_by = created_by
    successor.replaces = old
    successor.expires_at = old.expires_at if expires_at is None else expires_at
    key_save(successor, action="key.create", actor=actor, before=None)
    _shorten_rotated_key(old, now + dt.timedelta(seconds=grace_s), actor=actor)
    return successor, new.secret


def _check_holder_of(key_id: uuid.UUID) -> None:
    key = ApiKey.objects.select_related("tenant", "user", "service_account").get(id=key_id)
    if key.revoked_at is None:
        check_holder(key)


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
    before = key_values(key)
    key.expires_at = grace_end if key.expires_at is None else min(key.expires_at, grace_end)
    key_save(key, action="key.rotate", actor=actor, before=before)
