"""Roles, service accounts, and the keys of people who leave."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Permission, User
from django.core.exceptions import ValidationError
from django.test import Client

from backoffice.roles import ALL_ROLES
from tenants.choices import ADMIN_SCOPES, Role, Scope
from tenants.keys import services as key_services
from tenants.members import roles
from tenants.members import services as member_services
from tenants.models import AdminAudit, ApiKey, Membership, ServiceAccount
from tests.people import Cast

pytestmark = pytest.mark.django_db


def test_the_rules_cover_every_role() -> None:
    assert list(ALL_ROLES) == Role.values
    own = {role: roles.can_manage_keys_of(role, is_own=True) for role in Role.values}
    others = {role: roles.can_manage_keys_of(role, is_own=False) for role in Role.values}
    assert own == {"owner": True, "admin": True, "member": True, "viewer": False}
    assert others == {"owner": True, "admin": True, "member": False, "viewer": False}
    assert [role for role in Role.values if roles.can_create_keys(role)] == ["owner", "admin", "member"]
    assert [role for role in Role.values if roles.can_use(role)] == ["owner", "admin", "member"]
    assert [role for role in Role.values if roles.can_manage_members(role)] == ["owner"]
    assert [role for role in Role.values if roles.can_manage_service_accounts(role)] == ["owner", "admin"]
    assert roles.can_grant_scopes("admin", [Scope.ADMIN])
    assert not roles.can_grant_scopes("member", [Scope.INFERENCE, Scope.ADMIN_READ])
    assert roles.can_grant_scopes("member", key_services.DEFAULT_SCOPES)


def test_administration_is_no_default_scope() -> None:
    assert ADMIN_SCOPES.isdisjoint(key_services.DEFAULT_SCOPES)


def key_of(cast: Cast, user: User | None, name: str = "k") -> ApiKey:
    """Create a key of acme for a person."""
    return key_services.key_create(tenant=cast.acme, name=name, actor="tests", user=user)[0]


@pytest.mark.criterion("6.1")
def test_the_keys_of_a_removed_member_are_revoked_with_the_membership(cast: Cast) -> None:
    key, other = key_of(cast, cast.member), key_of(cast, cast.owner)
    account = member_services.service_account_create(tenant=cast.acme, name="nightly", actor="tests")
    program_key, _ = key_services.key_create(
        tenant=cast.acme, name="n", actor="tests", created_by=cast.member, service_account=account
    )
    member_services.membership_remove(tenant=cast.acme, user=cast.member, actor="user:owner")
    valid = {row.pk for row in ApiKey.objects.filter(revoked_at=None)}
    assert key.pk not in valid
    assert {other.pk, program_key.pk} <= valid
    actions = AdminAudit.objects.filter(actor="user:owner").order_by("id").values_list("action", "object_id")
    assert [action for action, _ in actions] == ["membership.remove", "key.revoke"]
    assert actions[1][1] == str(key.pk)


def test_a_member_who_becomes_a_viewer_loses_the_keys(cast: Cast) -> None:
    key = key_of(cast, cast.member)
    member_services.membership_set(tenant=cast.acme, user=cast.member, role="viewer", actor="tests")
    key.refresh_from_db()
    assert key.revoked_at is not None
    with pytest.raises(ValidationError, match="Viewers have no keys"):
        key_of(cast, cast.member)


@pytest.mark.criterion("6.1")
def test_an_admin_who_becomes_a_member_loses_the_keys_with_administrative_scopes(cast: Cast) -> None:
    def set_role(role: str) -> list[str]:
        member_services.membership_set(tenant=cast.acme, user=cast.member, role=role, actor="user:boss")
        keys = ApiKey.objects.filter(user=cast.member, revoked_at=None).order_by("name")
        return [key.name for key in keys]

    set_role("owner")
    for name, scope in {"plain": Scope.FILES, "reading": Scope.ADMIN_READ, "writing": Scope.ADMIN}.items():
        scopes = [Scope.INFERENCE, scope]
        key_services.key_create(tenant=cast.acme, name=name, actor="tests", user=cast.member, scopes=scopes)
    assert set_role("admin") == ["plain", "reading", "writing"]
    assert set_role("member") == ["plain"]
    assert AdminAudit.objects.filter(action="key.revoke", actor="user:boss").count() == 2


def test_keys_of_a_deactivated_account_are_revoked_by_its_page(cast: Cast) -> None:
    boss = User.objects.create_superuser("boss")
    client = Client()
    client.force_login(boss)
    key = key_of(cast, cast.member)
    answer = client.post(
        f"/admin/auth/user/{cast.member.pk}/change/",
        {"username": "member", "date_joined_0": "2026-01-01", "date_joined_1": "00:00:00"},
    )
    assert answer.status_code == 302
    assert not User.objects.get(pk=cast.member.pk).is_active
    key.refresh_from_db()
    assert key.revoked_at is not None
    assert AdminAudit.objects.filter(action="key.revoke", actor="user:boss").count() == 1
    with pytest.raises(ValidationError, match="not an active member"):
        key_of(cast, User.objects.get(pk=cast.member.pk))


def test_a_key_belongs_to_the_member_who_creates_it(cast: Cast) -> None:
    for person, holder in ((cast.member, cast.member), (cast.stranger, None), (None, None)):
        key, _ = key_services.key_create(tenant=cast.acme, name="k", actor="tests", created_by=person)
        assert key.user == holder


def test_a_key_has_one_holder_of_its_tenant(cast: Cast) -> None:
    account = member_services.service_account_create(tenant=cast.globex, name="nightly", actor="tests")
    with pytest.raises(ValidationError, match="another tenant"):
        key_services.key_create(tenant=cast.acme, name="k", actor="tests", service_account=account)
    with pytest.raises(ValidationError, match="not to both"):
        key_services.key_create(
            tenant=cast.globex, name="k", actor="tests", service_account=account, user=cast.stranger
        )
    with pytest.raises(ValidationError, match="not an active member"):
        key_of(cast, cast.stranger)


@pytest.mark.criterion("6.10")
def test_the_last_owner_stays(cast: Cast) -> None:
    with pytest.raises(ValidationError, match="last owner"):
        member_services.membership_remove(tenant=cast.acme, user=cast.owner, actor="tests")
    with pytest.raises(ValidationError, match="last owner"):
        member_services.membership_set(tenant=cast.acme, user=cast.owner, role="admin", actor="tests")
    assert Membership.objects.get(tenant=cast.acme, user=cast.owner).role == "owner"
    member_services.membership_set(tenant=cast.acme, user=cast.member, role="owner", actor="tests")
    member_services.membership_remove(tenant=cast.acme, user=cast.owner, actor="tests")
    assert Membership.objects.get(tenant=cast.acme).user == cast.member


def test_removing_the_last_owner_in_the_admin_shows_the_reason(cast: Cast) -> None:
    client = Client()
    client.force_login(User.objects.create_superuser("boss"))
    membership = Membership.objects.get(tenant=cast.acme, user=cast.owner)
    page = f"/admin/tenants/membership/{membership.pk}/delete/"
    answer = client.post(page, {"post": "yes"}, follow=True)
    assert "last owner of acme" in answer.content.decode()
    form = {"action": "delete_selected", "_selected_action": [membership.pk], "post": "yes"}
    answer = client.post("/admin/tenants/membership/", form, follow=True)
    assert "last owner of acme" in answer.content.decode()
    assert Membership.objects.filter(pk=membership.pk).exists()


def test_a_service_account_is_created_renamed_and_deleted_with_its_keys(cast: Cast) -> None:
    account = member_services.service_account_create(tenant=cast.acme, name=" nightly ", actor="tests")
    with pytest.raises(ValidationError):
        member_services.service_account_create(tenant=cast.acme, name="nightly", actor="tests")
    member_services.service_account_rename(account_id=account.pk, name="hourly", actor="tests")
    key, _ = key_services.key_create(tenant=cast.acme, name="k", actor="tests", service_account=account)
    member_services.service_account_delete(account_id=account.pk, actor="tests")
    key.refresh_from_db()
    assert (key.service_account, key.revoked_at is None) == (None, False)
    assert not ServiceAccount.objects.exists()
    changes = AdminAudit.objects.filter(object_id=str(account.pk)).order_by("id")
    assert [(change.action, change.before, change.after) for change in changes] == [
        ("service_account.create", None, {"name": "nightly"}),
        ("service_account.update", {"name": "nightly"}, {"name": "hourly"}),
        ("service_account.delete", {"name": "hourly"}, None),
    ]


def test_the_admin_manages_service_accounts(cast: Cast) -> None:
    client = Client()
    client.force_login(User.objects.create_superuser("boss"))
    add = "/admin/tenants/serviceaccount/add/"
    assert client.post(add, {"tenant": cast.acme.pk, "name": "nightly"}).status_code == 302
    account = ServiceAccount.objects.get(name="nightly")
    page = f"/admin/tenants/serviceaccount/{account.pk}"
    assert client.post(f"{page}/change/", {"name": "hourly"}).status_code == 302
    account.refresh_from_db()
    assert account.name == "hourly"
    assert "hourly" in client.get("/admin/tenants/serviceaccount/").content.decode()
    key, _ = key_services.key_create(tenant=cast.acme, name="k", actor="tests", service_account=account)
    assert client.post(f"{page}/delete/", {"post": "yes"}).status_code == 302
    assert not ServiceAccount.objects.exists()
    key.refresh_from_db()
    assert key.revoked_at is not None


def test_only_managers_of_a_tenant_delete_its_service_accounts_in_the_admin(cast: Cast) -> None:
    account = member_services.service_account_create(tenant=cast.acme, name="nightly", actor="tests")
    cast.member.is_staff = True
    cast.member.save()
    cast.member.user_permissions.set(Permission.objects.filter(codename__endswith="_serviceaccount"))
    member_services.membership_set(tenant=cast.globex, user=cast.member, role="admin", actor="tests")
    client = Client()
    client.force_login(cast.member)
    action = {"action": "delete_selected", "_selected_action": str(account.pk), "post": "yes"}
    assert client.post("/admin/tenants/serviceaccount/", action).status_code == 403
    assert (
        client.post(f"/admin/tenants/serviceaccount/{account.pk}/delete/", {"post": "yes"}).status_code == 403
    )
    assert ServiceAccount.objects.filter(pk=account.pk).exists()
