"""Rights and privileged accounts are a superuser's alone."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client

from tenants.admin_pages.staff_presets import StaffPreset
from tenants.choices import Role, Scope
from tenants.keys.services import key_create
from tenants.members.services import membership_set
from tenants.models import AdminAudit, ApiKey, Membership
from tests.console.harness.jobs import job_with_steps
from tests.people import Cast, make_superuser

pytestmark = [pytest.mark.django_db, pytest.mark.case("robustness.14")]

PASSWORD = "another long passphrase 7"
PASSWORD_FORM = {"password1": PASSWORD, "password2": PASSWORD, "usable_password": "true"}


@pytest.fixture
def clerk(cast: Cast) -> User:
    """A member of staff who may view, add and change users."""
    user = User.objects.create_user("clerk", password="x", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__endswith="_user"))
    make_superuser(cast.owner)
    return user


@pytest.fixture
def clerk_client(clerk: User) -> Client:
    """A client signed in as the clerk."""
    client = Client()
    client.force_login(clerk)
    return client


def form_granting_everything(username: str) -> dict[str, object]:
    """Return a form that asks for every right."""
    permissions = [str(pk) for pk in Permission.objects.values_list("pk", flat=True)]
    rights = {"is_active": "on", "is_staff": "on", "is_superuser": "on", "user_permissions": permissions}
    return {"username": username, "date_joined_0": "2026-01-01", "date_joined_1": "00:00:00", **rights}


def test_staff_cannot_grant_rights_to_themselves_or_to_others(clerk: User, clerk_client: Client) -> None:
    other = User.objects.create_user("plain")
    before = clerk.user_permissions.count()
    for user in (clerk, other):
        page = f"/admin/auth/user/{user.pk}/change/"
        assert clerk_client.post(page, form_granting_everything(user.username)).status_code == 302
        user.refresh_from_db()
        assert not user.is_superuser
    assert (clerk.user_permissions.count(), other.user_permissions.count()) == (before, 0)
    assert not other.is_staff


def test_a_user_that_staff_add_has_no_rights(clerk_client: Client) -> None:
    form = {**form_granting_everything("new"), **PASSWORD_FORM}
    assert clerk_client.post("/admin/auth/user/add/", form).status_code == 302
    new = User.objects.get(username="new")
    assert (new.is_staff, new.is_superuser, new.user_permissions.count()) == (False, False, 0)


@pytest.mark.parametrize("name", ["owner", "member", "deputy", "former"])
def test_accounts_with_rights_are_a_superusers_alone(name: str, clerk_client: Client, cast: Cast) -> None:
    User.objects.create_user("deputy", is_staff=True)
    former = User.objects.create_user("former", is_active=False)
    former.user_permissions.add(Permission.objects.get(codename="change_apikey"))
    user = User.objects.get(username=name)
    page = f"/admin/auth/user/{user.pk}"
    assert clerk_client.post(f"{page}/change/", {"username": "taken"}).status_code == 403
    assert clerk_client.post(f"{page}/password/", PASSWORD_FORM).status_code == 403
    assert clerk_client.post(f"{page}/delete/", {"post": "yes"}).status_code == 403
    after = User.objects.get(pk=user.pk)
    assert (after.username, after.password) == (name, user.password)
    administrator = Client()
    administrator.force_login(User.objects.get(pk=cast.owner.pk))
    assert administrator.post(f"{page}/password/", PASSWORD_FORM).status_code == 302


def test_staff_set_the_password_of_an_account_without_rights(clerk_client: Client) -> None:
    user = User.objects.create_user("plain")
    assert clerk_client.post(f"/admin/auth/user/{user.pk}/password/", PASSWORD_FORM).status_code == 302
    user.refresh_from_db()
    assert user.check_password(PASSWORD)


@pytest.mark.case("admin.12")
@pytest.mark.parametrize("preset", StaffPreset)
def test_a_preset_makes_staff_who_may_do_what_it_says(preset: StaffPreset, clerk: User, cast: Cast) -> None:
    administrator, staff = Client(), Client()
    administrator.force_login(User.objects.get(pk=cast.owner.pk))
    user = User.objects.create_user("helper")
    page = f"/admin/auth/user/{user.pk}/change/"
    assert str(preset.label) in administrator.get(page).content.decode()
    form = {"username": "helper", "is_active": "on", "preset": preset.value, "user_permissions": []}
    dates = {"date_joined_0": "2026-01-01", "date_joined_1": "00:00:00"}
    assert administrator.post(page, form | dates).status_code == 302
    user.refresh_from_db()
    assert (user.is_staff, user.is_superuser) == (True, False)
    change = AdminAudit.objects.get(action="user.update", object_name="helper")
    assert "tenants.view_apikey" in (change.after or {})["permissions"]
    Membership.objects.create(tenant=cast.acme, user=user, role="owner")
    staff.force_login(user)
    key = ApiKey.objects.get(tenant=cast.acme).pk
    job = job_with_steps(cast.acme, 0, runs=False).pk
    statuses = {
        "see usage": staff.get("/admin/tenants/usagerecord/").status_code,
        "see accounts": staff.get("/admin/auth/user/").status_code,
        "revoke keys": staff.get(f"/admin/tenants/apikey/{key}/revoke/").status_code,
        "cancel jobs": staff.get(f"/admin/training/finetuningjob/{job}/cancel/").status_code,
        "add models": staff.get("/admin/registry/servedmodel/add/").status_code,
    }
    assert statuses == {
        "see usage": 200,
        "see accounts": 403,
        "revoke keys": 200 if preset is StaffPreset.ACCESS else 403,
        "cancel jobs": 200 if preset is StaffPreset.JOBS else 403,
        "add models": 403,  # models concern every tenant
    }


@pytest.mark.case("admin.12")
def test_a_preset_is_neither_offered_to_staff_nor_accepted_from_them(clerk_client: Client) -> None:
    user = User.objects.create_user("plain")
    page = f"/admin/auth/user/{user.pk}/change/"
    assert 'name="preset"' not in clerk_client.get(page).content.decode()
    assert clerk_client.post(page, {"username": "plain", "preset": "access"}).status_code == 302
    user.refresh_from_db()
    assert (user.is_staff, user.user_permissions.count()) == (False, 0)


def test_a_form_of_an_account_that_was_opened_before_another_change_does_not_undo_it(clerk: User) -> None:
    boss = Client()
    boss.force_login(User.objects.create_superuser("boss"))
    page = f"/admin/auth/user/{clerk.pk}/change/"
    old_form = {**form_granting_everything("clerk"), "version": boss.get(page).context["version"]}
    without_rights = {name: old_form[name] for name in ("username", "date_joined_0", "date_joined_1")}
    assert boss.post(page, without_rights).status_code == 302
    answer = boss.post(page, old_form)
    assert answer.status_code == 200
    assert "changed after you opened the page" in answer.content.decode()
    clerk.refresh_from_db()
    assert (clerk.is_active, clerk.is_staff, clerk.is_superuser) == (False, False, False)


def test_an_account_that_is_no_longer_a_superuser_loses_the_keys_that_only_one_may_hold(cast: Cast) -> None:
    operator = make_superuser(cast.member)
    membership_set(tenant=cast.globex, user=operator, role=Role.ADMIN, actor="tests")
    kept_keys = {
        key_create(tenant=tenant, name="k", actor="tests", created_by=operator, scopes=[scope])[0].pk: is_kept
        for tenant, scope, is_kept in (
            (cast.acme, Scope.ADMIN, False),
            (cast.acme, Scope.INFERENCE, True),
            (cast.globex, Scope.ADMIN, True),
        )
    }
    boss = Client()
    boss.force_login(User.objects.create_superuser("boss"))
    page = f"/admin/auth/user/{operator.pk}/change/"
    form = {**form_granting_everything("member"), "version": boss.get(page).context["version"]}
    del form["is_superuser"]
    assert boss.post(page, form).status_code == 302
    assert {key.pk: key.revoked_at is None for key in ApiKey.objects.filter(pk__in=kept_keys)} == kept_keys
