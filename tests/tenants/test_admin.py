"""Admin pages: changes go through the services, and a secret is shown once."""

from __future__ import annotations

import re

import pytest
import redis
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.contrib.sessions.models import Session
from django.db import connection
from django.test import Client
from django.utils import translation
from psycopg import sql

from tenants.keys.secrets import key_matches, split_key
from tenants.ledger.drain import ledger_drain
from tenants.models import AdminAudit, ApiKey, AuditRecord, Membership, Tenant, UsageRecord
from tests.people import Cast, make_superuser
from tests.tenants.facts import end_fact, meter_fact, start_fact, write_facts

pytestmark = pytest.mark.django_db

SECRET = re.compile(r"sk-cy-[0-9A-Za-z]{12}-[A-Za-z0-9_-]{43}")


def all_text_of_the_database() -> str:
    """Return every row of every table as text."""
    texts = []
    with connection.cursor() as cursor:
        for name in connection.introspection.table_names(cursor):
            cursor.execute(sql.SQL("SELECT t::text FROM {} t").format(sql.Identifier(name)))
            texts += [row[0] for row in cursor.fetchall()]
    return "\n".join(texts)


@pytest.mark.criterion("6.1")
def test_the_secret_of_a_new_key_appears_only_in_the_response_to_the_form(admin: Client, cast: Cast) -> None:
    form = {"tenant": str(cast.acme.id), "name": "ci", "scopes": ["inference"]}
    response = admin.post("/admin/tenants/apikey/add/", form)
    assert response.status_code == 200
    assert "no-store" in response["Cache-Control"]
    (secret,) = SECRET.findall(response.content.decode())
    key = ApiKey.objects.get(name="ci")
    assert key_matches(secret, key.secret_hash)
    assert (key.scopes, key.created_by) == (["inference"], cast.owner)
    body = secret.removeprefix(f"sk-cy-{key.prefix}-")
    for page in ("/admin/tenants/apikey/", f"/admin/tenants/apikey/{key.pk}/change/", "/admin/"):
        assert body not in admin.get(page).content.decode()
    assert body not in all_text_of_the_database()
    assert body not in str([session.get_decoded() for session in Session.objects.all()])
    assert LogEntry.objects.get().object_id == str(key.pk)
    change = AdminAudit.objects.get(object_id=str(key.pk))
    assert (change.action, change.actor) == ("key.create", "user:owner")


def test_a_key_needs_a_known_scope(admin: Client, cast: Cast) -> None:
    for scopes in ([], ["everything"]):
        form = {"tenant": str(cast.acme.id), "name": "ci", "scopes": scopes}
        response = admin.post("/admin/tenants/apikey/add/", form)
        assert response.status_code == 200
        assert response.context["adminform"].errors.keys() == {"scopes"}
    assert not ApiKey.objects.filter(name="ci").exists()


@pytest.mark.criterion("6.1")
def test_a_key_can_be_rotated_on_its_page(admin: Client, cast: Cast) -> None:
    old = ApiKey.objects.get(tenant=cast.acme)
    page = f"/admin/tenants/apikey/{old.pk}/rotate/"
    assert page in admin.get(f"/admin/tenants/apikey/{old.pk}/change/").content.decode()
    question = admin.get(page)
    assert 'name="grace_s"' in question.content.decode()
    assert ApiKey.objects.filter(tenant=cast.acme).count() == 1
    response = admin.post(page, {"grace_s": 3600})
    (secret,) = SECRET.findall(response.content.decode())
    assert "no-store" in response["Cache-Control"]
    new = ApiKey.objects.get(prefix=split_key(secret) or "")
    old.refresh_from_db()
    assert (new.replaces, new.created_by) == (old, cast.owner)
    assert old.expires_at is not None
    retry = admin.post(page, {"grace_s": 3600}, follow=True)
    assert new.prefix in "".join(str(message) for message in retry.context["messages"])
    assert ApiKey.objects.filter(tenant=cast.acme).count() == 2


@pytest.mark.parametrize("grace_s", ["-1", "59", "", "for ever"])
def test_the_form_rejects_an_invalid_grace_period(admin: Client, cast: Cast, grace_s: str) -> None:
    old = ApiKey.objects.get(tenant=cast.acme)
    response = admin.post(f"/admin/tenants/apikey/{old.pk}/rotate/", {"grace_s": grace_s})
    assert response.context["form"].errors.keys() == {"grace_s"}
    assert ApiKey.objects.filter(tenant=cast.acme).count() == 1


def test_revocation_needs_confirmation_and_makes_the_key_read_only(admin: Client, cast: Cast) -> None:
    key = ApiKey.objects.get(tenant=cast.acme)
    page = f"/admin/tenants/apikey/{key.pk}/revoke/"
    admin.get(page)
    key.refresh_from_db()
    assert key.revoked_at is None
    assert admin.post(page).status_code == 302
    key.refresh_from_db()
    assert key.revoked_at is not None
    assert AdminAudit.objects.latest("id").action == "key.revoke"
    assert admin.post(page).status_code == 403
    response = admin.post(f"/admin/tenants/apikey/{key.pk}/change/", {"name": "x", "scopes": ["inference"]})
    assert response.status_code == 403


def test_revocation_and_rotation_need_a_csrf_token_and_the_permission(cast: Cast) -> None:
    key = ApiKey.objects.get(tenant=cast.acme)
    User.objects.filter(pk=cast.member.pk).update(is_staff=True)
    forging_client = Client(enforce_csrf_checks=True)
    forging_client.force_login(make_superuser(cast.owner))
    viewer = Client()
    viewer.force_login(User.objects.get(pk=cast.member.pk))
    cast.member.user_permissions.add(Permission.objects.get(codename="view_apikey"))
    for action in ("revoke", "rotate"):
        page = f"/admin/tenants/apikey/{key.pk}/{action}/"
        assert forging_client.post(page, {"grace_s": 0}).status_code == 403
        assert viewer.post(page, {"grace_s": 0}).status_code == 403
        assert Client().post(page, {"grace_s": 0}).status_code == 302
    key.refresh_from_db()
    assert (key.revoked_at, key.expires_at) == (None, None)


def test_editing_a_key_goes_through_the_service(admin: Client, cast: Cast) -> None:
    key = ApiKey.objects.get(tenant=cast.acme)
    form = {
        "name": "renamed",
        "scopes": ["models.read"],
        "expires_at_0": "2030-01-02",
        "expires_at_1": "03:04:05",
        "tenant": str(cast.globex.id),
    }
    assert admin.post(f"/admin/tenants/apikey/{key.pk}/change/", form).status_code == 302
    key.refresh_from_db()
    assert (key.name, key.scopes, key.tenant) == ("renamed", ["models.read"], cast.acme)
    change = AdminAudit.objects.latest("id")
    assert change.after == {
        "name": "renamed",
        "scopes": ["models.read"],
        "expires_at": "2030-01-02T03:04:05+00:00",
    }


def test_creating_and_editing_a_tenant_goes_through_the_services(admin: Client) -> None:
    assert admin.post("/admin/tenants/tenant/add/", {"slug": "initech", "name": "Initech"}).status_code == 302
    tenant = Tenant.objects.get(slug="initech")
    form = {"slug": "initech", "name": "Initech", "active": ""}
    assert admin.post(f"/admin/tenants/tenant/{tenant.pk}/change/", form).status_code == 302
    rows = AdminAudit.objects.filter(object_id=str(tenant.pk)).order_by("id")
    assert [(row.action, row.actor) for row in rows] == [
        ("tenant.create", "user:owner"),
        ("tenant.update", "user:owner"),
    ]
    assert (rows[1].before, rows[1].after) == ({"active": True}, {"active": False})
    assert admin.post(f"/admin/tenants/tenant/{tenant.pk}/delete/", {"post": "yes"}).status_code == 403


def test_a_bad_or_taken_short_name_is_an_error_of_its_field(admin: Client) -> None:
    for slug in ("Not good", "acme"):
        response = admin.post("/admin/tenants/tenant/add/", {"slug": slug, "name": "x"})
        assert response.context["adminform"].errors.keys() == {"slug"}
    assert Tenant.objects.count() == 2


def test_setting_and_removing_a_membership_goes_through_the_services(admin: Client, cast: Cast) -> None:
    form = {"tenant": str(cast.globex.id), "user": cast.member.pk, "role": "viewer"}
    assert admin.post("/admin/tenants/membership/add/", form).status_code == 302
    membership = Membership.objects.get(tenant=cast.globex, user=cast.member)
    page = f"/admin/tenants/membership/{membership.pk}"
    assert admin.post(f"{page}/change/", {"role": "admin"}).status_code == 302
    assert admin.post(f"{page}/delete/", {"post": "yes"}).status_code == 302
    rows = AdminAudit.objects.filter(object_id=str(membership.pk)).order_by("id")
    assert [row.action for row in rows] == ["membership.set", "membership.set", "membership.remove"]
    assert rows[1].before == {"role": "viewer"}


def test_changes_of_users_are_audited_without_their_passwords(admin: Client, cast: Cast) -> None:
    password = "a long enough passphrase 1"
    form = {"username": "new", "password1": password, "password2": password, "usable_password": "true"}
    assert admin.post("/admin/auth/user/add/", form).status_code == 302
    user = User.objects.get(username="new")
    permission = Permission.objects.get(codename="view_usagerecord")
    form = {
        "username": "new",
        "is_active": "on",
        "is_staff": "on",
        "user_permissions": str(permission.pk),
        "date_joined_0": "2026-01-01",
        "date_joined_1": "00:00:00",
    }
    assert admin.post(f"/admin/auth/user/{user.pk}/change/", form).status_code == 302
    form = {"password1": password + "2", "password2": password + "2", "usable_password": "true"}
    assert admin.post(f"/admin/auth/user/{user.pk}/password/", form).status_code == 302
    rows = AdminAudit.objects.filter(action__startswith="user.").order_by("id")
    assert [row.action for row in rows] == ["user.create", "user.update", "user.password"]
    assert rows[1].before == {"staff": False, "permissions": []}
    assert rows[1].after == {"staff": True, "permissions": ["tenants.view_usagerecord"]}
    assert password not in all_text_of_the_database()
    assert admin.post(f"/admin/auth/user/{user.pk}/delete/", {"post": "yes"}).status_code == 403


def test_usage_audit_and_change_pages_are_read_only(admin: Client, redis_client: redis.Redis) -> None:
    write_facts(redis_client, start_fact(), meter_fact(), end_fact())
    ledger_drain(redis_client)
    rows = {
        "usagerecord": UsageRecord.objects.get().pk,
        "auditrecord": AuditRecord.objects.get().pk,
        "adminaudit": AdminAudit.objects.latest("id").pk,
    }
    for name, pk in rows.items():
        record_list = admin.get(f"/admin/tenants/{name}/")
        detail = admin.get(f"/admin/tenants/{name}/{pk}/change/")
        assert (record_list.status_code, detail.status_code) == (200, 200)
        assert admin.get(f"/admin/tenants/{name}/add/").status_code == 403
        assert admin.post(f"/admin/tenants/{name}/{pk}/change/", {}).status_code == 403
        assert admin.post(f"/admin/tenants/{name}/{pk}/delete/", {"post": "yes"}).status_code == 403
    assert "smollm2" in admin.get("/admin/tenants/usagerecord/").content.decode()


def test_every_list_and_form_renders_in_both_languages(admin: Client) -> None:
    pages = [
        f"/admin/tenants/{name}/{page}"
        for name in ("tenant", "membership", "apikey")
        for page in ("", "add/")
    ]
    for page in [*pages, "/admin/auth/user/", "/admin/auth/user/add/"]:
        for language in ("en", "zh-hans"):
            with translation.override("en"):  # the test client leaves its language active in this thread
                response = admin.get(page, headers={"accept-language": language})
            assert response.status_code == 200
            assert f'lang="{language}"' in response.content.decode()
