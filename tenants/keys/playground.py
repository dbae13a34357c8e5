"""Keys of the console's playground: one per person and tenant, valid for minutes, renewed on use."""

from __future__ import annotations

import datetime as dt

from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone

from tenants.choices import KeyPurpose, Scope
from tenants.keys.changes import key_values
from tenants.keys.secrets import NewKey, key_generate
from tenants.keys.services import check_holder, key_save, lock_holder, member_or_none
from tenants.models import ApiKey, Tenant

VALID_FOR = dt.timedelta(minutes=15)


@transaction.atomic
def playground_key_renew(*, tenant: Tenant, user: User, actor: str) -> tuple[ApiKey, str]:
    """Give a person's playground key of a tenant a new secret and 15 more minutes. Returns key and secret.

    The previous secret ends. The key is created on first use, with the scope to run models only. It belongs
    to the person, whose usage it shows, or to the tenant if the person is an operator without membership.
    Raises ValidationError for viewers.
    """
    # Serializes the first uses of the same person in two windows.
    lock_holder(user.pk, tenant.pk)
    key = _live_key(tenant, user)
    before = key_values(key) if key else None
    new = key_generate(key.prefix if key else "")
    key = key or _first_key(tenant, user, new)
    key.secret_hash = new.secret_hash
    key.expires_at = timezone.now() + VALID_FOR
    check_holder(key)
    key_save(key, action="key.renew" if before else "key.create", actor=actor, before=before)
    return key, new.secret


def _live_key(tenant: Tenant, user: User) -> ApiKey | None:
    keys = ApiKey.objects.select_for_update(of=("self",)).select_related("tenant", "user", "service_account")
    of_person = keys.filter(tenant=tenant, created_by=user, purpose=KeyPurpose.PLAYGROUND)
    return of_person.filter(revoked_at=None).first()


def _first_key(tenant: Tenant, user: User, new: NewKey) -> ApiKey:
    return ApiKey(
        tenant=tenant,
        name=f"playground of {user.get_username()}"[:200],
        prefix=new.prefix,
        scopes=[Scope.INFERENCE.value],
        purpose=KeyPurpose.PLAYGROUND,
        created_by=user,
        user=member_or_none(tenant, user),
    )
