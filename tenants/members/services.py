"""Changes of members and service accounts. The keys of a person who leaves are revoked with the change."""

from __future__ import annotations

import uuid
from collections.abc import Collection

from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils.translation import gettext_lazy as _

from backoffice.roles import MANAGERS
from backoffice.unique_values import unique_values
from tenants.audit_trail.changes import admin_audit_record
from tenants.choices import ADMIN_SCOPES, Role
from tenants.keys.services import keys_revoke
from tenants.models import ApiKey, Membership, ServiceAccount, Tenant


@transaction.atomic
def membership_set(*, tenant: Tenant, user: User, role: str, actor: str) -> Membership:
    """Add ``user`` as a member with ``role``, or change the role. Raises ValidationError.

    The last owner can't get another role. The keys of a person who becomes a viewer are revoked, and those
    with administrative scopes of a person who ceases to be an owner or admin.
    """
    if role not in Role.values:
        raise ValidationError(
            _("%(role)s is not a role. Choose one of %(roles)s."),
            code="unknown_role",
            params={"role": role, "roles": ", ".join(Role.values)},
        )
    # Locking the tenant's row serializes concurrent changes of owners and additions of the same member.
    # With ``no_key``, inserts of rows that refer to the tenant, such as keys, don't wait for it.
    Tenant.objects.select_for_update(no_key=True).get(id=tenant.id)
    membership = Membership.objects.select_for_update(of=("self",)).filter(tenant=tenant, user=user).first()
    old_role = membership.role if membership else None
    if membership and old_role == role:
        return membership
    if membership:
        _check_owners(membership)
    membership = membership or Membership()
    membership.tenant, membership.user, membership.role = tenant, user, role
    membership.save()
    _membership_audit(membership, action="membership.set", actor=actor, before=old_role, after=role)
    if role == Role.VIEWER:
        _revoke_keys(user, tenant, actor=actor)
    elif old_role in MANAGERS and role not in MANAGERS:
        _revoke_keys(user, tenant, actor=actor, scopes=ADMIN_SCOPES)
    return membership


@transaction.atomic
def membership_change(*, tenant: Tenant, user: User, role: str, actor: str) -> Membership:
    """Change the role of a member, as ``membership_set`` does.

    Raises Membership.DoesNotExist if the person is no member or no longer one, and ValidationError.
    """
    Tenant.objects.select_for_update(no_key=True).get(id=tenant.id)
    Membership.objects.get(tenant=tenant, user=user)
    return membership_set(tenant=tenant, user=user, role=role, actor=actor)


@transaction.atomic
def membership_remove(*, tenant: Tenant, user: User, actor: str) -> None:
    """Remove a member and revoke the member's keys of this tenant.

    Raises Membership.DoesNotExist, and ValidationError for the last owner.
    """
    Tenant.objects.select_for_update(no_key=True).get(id=tenant.id)
    memberships = Membership.objects.select_for_update(of=("self",)).select_related("tenant", "user")
    membership = memberships.get(tenant=tenant, user=user)
    _check_owners(membership)
    role = membership.role
    _membership_audit(membership, action="membership.remove", actor=actor, before=role, after=None)
    membership.delete()
    _revoke_keys(user, tenant, actor=actor)


def _check_owners(membership: Membership) -> None:
    """Check that the tenant keeps an owner. The tenant's row must be locked."""
    if membership.role != Role.OWNER:
        return
    others = Membership.objects.filter(tenant=membership.tenant, role=Role.OWNER).exclude(pk=membership.pk)
    if not others.exists():
        raise ValidationError(
            _("%(user)s is the last owner of %(tenant)s. Make somebody else an owner first."),
            code="last_owner",
            params={"user": membership.user, "tenant": membership.tenant},
        )


def _revoke_keys(
    user: User, tenant: Tenant | None, *, actor: str, scopes: Collection[str] | None = None
) -> None:
    """Revoke a person's keys in a tenant, or in all; with ``scopes``, only those that have one of them."""
    keys = ApiKey.objects.filter(user=user, revoked_at=None)
    if tenant is not None:
        keys = keys.filter(tenant=tenant)
    if scopes is not None:
        keys = keys.filter(scopes__overlap=list(scopes))
    keys_revoke(keys, actor=actor)


@transaction.atomic
def user_keys_revoke(*, user: User, actor: str) -> None:
    """Revoke the keys that belong to a person, in all tenants: for an account that is deactivated."""
    _revoke_keys(user, None, actor=actor)


@transaction.atomic
def operator_keys_revoke(*, user: User, actor: str) -> None:
    """Revoke the keys with administrative scopes that an account could hold as a superuser only."""
    managed_tenants = Membership.objects.filter(user=user, role__in=MANAGERS).values("tenant")
    keys = ApiKey.objects.filter(user=user, revoked_at=None, scopes__overlap=list(ADMIN_SCOPES))
    keys_revoke(keys.exclude(tenant__in=managed_tenants), actor=actor)


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


@transaction.atomic
def service_account_create(*, tenant: Tenant, name: str, actor: str) -> ServiceAccount:
    """Create a service account. Raises ValidationError (empty or taken name)."""
    account = ServiceAccount(tenant=tenant, name=name.strip())
    account.full_clean()
    with unique_values(account):
        account.save(force_insert=True)
    _account_audit(account, action="service_account.create", actor=actor, before=None, after=account.name)
    return account


@transaction.atomic
def service_account_rename(*, account_id: uuid.UUID, name: str, actor: str) -> ServiceAccount:
    """Rename a service account. Raises ValidationError, ServiceAccount.DoesNotExist."""
    account = ServiceAccount.objects.select_for_update().get(id=account_id)
    old_name, account.name = account.name, name.strip()
    if account.name != old_name:
        account.full_clean()
        with unique_values(account):
            account.save()
        _account_audit(
            account, action="service_account.update", actor=actor, before=old_name, after=account.name
        )
    return account


@transaction.atomic
def service_account_delete(*, account_id: uuid.UUID, actor: str) -> None:
    """Revoke the keys of a service account and delete it; its keys then belong to the tenant.

    Raises ServiceAccount.DoesNotExist.
    """
    account = ServiceAccount.objects.select_for_update().get(id=account_id)
    keys_revoke(account.keys.filter(revoked_at=None), actor=actor)
    _account_audit(account, action="service_account.delete", actor=actor, before=account.name, after=None)
    account.keys.update(service_account=None)
    account.delete()


def _account_audit(
    account: ServiceAccount, *, action: str, actor: str, before: str | None, after: str | None
) -> None:
    admin_audit_record(
        actor=actor,
        action=action,
        object_id=str(account.pk),
        object_name=account.name,
        tenant_id=account.tenant_id,
        before={"name": before} if before else None,
        after={"name": after} if after else None,
    )
