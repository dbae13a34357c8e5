"""Keys of the playground: one per person and tenant, short-lived, audited, ended with the membership."""

from __future__ import annotations

import datetime as dt

import pytest
from django.core.exceptions import ValidationError
from django.utils import timezone

from tenants.keys.playground import VALID_FOR, playground_key_renew
from tenants.keys.secrets import key_matches, split_key
from tenants.keys.services import key_revoke
from tenants.members.services import membership_remove, membership_set
from tenants.models import AdminAudit, ApiKey, Membership
from tests.people import Cast

pytestmark = pytest.mark.django_db


def _renew(cast: Cast) -> tuple[ApiKey, str]:
    return playground_key_renew(tenant=cast.acme, user=cast.member, actor="user:member")


@pytest.mark.criterion("6.1")
def test_a_renewed_key_is_the_same_with_another_secret_and_both_are_audited(cast: Cast) -> None:
    first, old_secret = _renew(cast)
    second, new_secret = _renew(cast)
    assert first.id == second.id
    assert split_key(old_secret) == split_key(new_secret) == first.prefix
    row = ApiKey.objects.get(id=first.id)
    assert key_matches(new_secret, row.secret_hash)
    assert not key_matches(old_secret, row.secret_hash)
    assert (row.scopes, row.user, row.created_by) == (["inference"], cast.member, cast.member)
    assert row.expires_at is not None
    assert timezone.now() < row.expires_at <= timezone.now() + VALID_FOR
    changes = AdminAudit.objects.filter(object_id=str(first.id)).order_by("id")
    assert [(change.action, change.actor) for change in changes] == [
        ("key.create", "user:member"),
        ("key.renew", "user:member"),
    ]
    assert list(changes[1].after or {}) == ["expires_at"]
    assert all(secret not in str(change.after) for change in changes for secret in (old_secret, new_secret))


def test_a_revoked_key_stays_revoked_and_the_next_one_is_another(cast: Cast) -> None:
    first, _ = _renew(cast)
    key_revoke(key_id=first.id, actor="t")
    second, _ = _renew(cast)
    assert first.id != second.id
    assert ApiKey.objects.get(id=first.id).revoked_at is not None


@pytest.mark.criterion("6.2")
def test_the_key_ends_with_the_membership_and_viewers_get_none(cast: Cast) -> None:
    key, _ = _renew(cast)
    membership_set(tenant=cast.acme, user=cast.member, role="viewer", actor="t")
    assert ApiKey.objects.get(id=key.id).revoked_at is not None
    membership_set(tenant=cast.globex, user=cast.member, role="member", actor="t")
    other, _ = playground_key_renew(tenant=cast.globex, user=cast.member, actor="t")
    Membership.objects.filter(user=cast.member).update(role="viewer")
    with pytest.raises(ValidationError, match="Viewers have no keys"):
        playground_key_renew(tenant=cast.globex, user=cast.member, actor="t")
    assert ApiKey.objects.get(id=other.id).expires_at == other.expires_at


def test_an_operator_who_is_no_member_gets_a_key_of_the_tenant(cast: Cast) -> None:
    key, _ = playground_key_renew(tenant=cast.globex, user=cast.owner, actor="user:owner")
    assert (key.user, key.created_by, key.tenant) == (None, cast.owner, cast.globex)
    again, _ = playground_key_renew(tenant=cast.globex, user=cast.owner, actor="user:owner")
    assert again.id == key.id
    assert again.expires_at is not None
    assert again.expires_at - timezone.now() > dt.timedelta(minutes=14)


def test_removal_from_the_tenant_revokes_the_key(cast: Cast) -> None:
    key, _ = _renew(cast)
    membership_remove(tenant=cast.acme, user=cast.member, actor="t")
    assert ApiKey.objects.get(id=key.id).revoked_at is not None
