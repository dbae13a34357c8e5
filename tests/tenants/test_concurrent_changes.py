"""Changes of one object at the same moment: none is lost, and none makes a page fail."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.test import Client

from inference_worker.registry.models import ServedModel
from inference_worker.registry.services import model_register, model_remove, model_update
from tenants.keys.services import key_create, key_update
from tenants.members.services import (
    membership_remove,
    membership_set,
    service_account_create,
    service_account_delete,
)
from tenants.models import ApiKey, Membership, ServiceAccount, Tenant
from tenants.services import tenant_create, tenant_update
from tests.concurrency import during
from tests.people import Cast, make_superuser, signed_in
from training.jobs.policies import policy_set
from training.models import TrainingPolicy

pytestmark = pytest.mark.django_db(transaction=True)

CHANGED = "changed after you opened the page"


@pytest.fixture
def admin(cast: Cast, redis_client: object) -> Client:
    """A browser in which the owner of acme is signed in as a superuser."""
    browser = signed_in(make_superuser(cast.owner))
    browser.raise_request_exception = False
    return browser


def form_of(browser: Client, address: str) -> dict[str, Any]:
    """Return the fields of an admin page's form as a browser sends them."""
    context = browser.get(address).context
    values = {field.name: field.value() for field in context["adminform"].form}
    fields = {name: value for name, value in values.items() if value not in (None, False, [])}
    return {**fields, "version": context["version"]}


def test_a_form_of_a_tenant_does_not_undo_a_change_that_commits_meanwhile(admin: Client, cast: Cast) -> None:
    page = f"/admin/tenants/tenant/{cast.acme.pk}/change/"
    form = form_of(admin, page) | {"name": "Renamed"}
    response = during(
        lambda: tenant_update(tenant_id=cast.acme.pk, actor="tests", concurrent_requests=7),
        lambda: admin.post(page, form),
    )
    assert CHANGED in response.content.decode()
    tenant = Tenant.objects.get(pk=cast.acme.pk)
    assert (tenant.name, tenant.concurrent_requests) == ("Acme", 7)
    assert admin.post(page, form | {"version": response.context["version"]}).status_code == 302


def test_a_form_of_a_role_does_not_bring_a_removed_member_back(admin: Client, cast: Cast) -> None:
    member = Membership.objects.get(user=cast.member)
    page = f"/admin/tenants/membership/{member.pk}/change/"
    form = form_of(admin, page) | {"role": "admin"}
    response = during(
        lambda: membership_remove(tenant=cast.acme, user=cast.member, actor="tests"),
        lambda: admin.post(page, form),
    )
    assert (response.status_code, response["Location"]) == (302, "/admin/tenants/membership/")
    assert not Membership.objects.filter(user=cast.member).exists()


def test_a_role_of_the_console_does_not_bring_a_removed_member_back(admin: Client, cast: Cast) -> None:
    page = f"/console/acme/members/{cast.member.pk}/"
    response = during(
        lambda: membership_remove(tenant=cast.acme, user=cast.member, actor="tests"),
        lambda: admin.post(page, {"role": "admin"}),
    )
    assert (response.status_code, response["Location"]) == (302, "/console/acme/members/")
    assert not Membership.objects.filter(user=cast.member, tenant=cast.acme).exists()


def test_a_service_account_that_is_deleted_gets_no_key_of_the_same_moment(cast: Cast) -> None:
    account = service_account_create(tenant=cast.acme, name="nightly", actor="tests")
    with pytest.raises(ValidationError, match="has been deleted"):
        during(
            lambda: service_account_delete(account_id=account.pk, actor="tests"),
            lambda: key_create(tenant=cast.acme, name="k", actor="tests", service_account=account),
        )
    assert not ApiKey.objects.filter(name="k").exists()


def test_a_form_of_a_model_does_not_undo_a_change_that_commits_meanwhile(admin: Client) -> None:
    model_register(name="m", actor="tests")
    page = f"/admin/registry/servedmodel/{ServedModel.objects.get(name='m').pk}/change/"
    form = form_of(admin, page)
    response = during(
        lambda: model_update(name="m", actor="tests", enabled=False), lambda: admin.post(page, form)
    )
    assert CHANGED in response.content.decode()
    assert not ServedModel.objects.get(name="m").enabled


def test_a_form_of_a_policy_does_not_undo_a_change_that_commits_meanwhile(admin: Client, cast: Cast) -> None:
    policy_set(tenant=cast.acme, allows_preemption=True, max_running_jobs=None, actor="tests")
    page = f"/admin/training/trainingpolicy/{cast.acme.pk}/change/"
    form = form_of(admin, page)
    response = during(
        lambda: policy_set(tenant=cast.acme, allows_preemption=True, max_running_jobs=3, actor="tests"),
        lambda: admin.post(page, form),
    )
    assert CHANGED in response.content.decode()
    assert TrainingPolicy.objects.get(tenant=cast.acme).max_running_jobs == 3


@pytest.mark.parametrize("page", ["/console/acme/keys/{}/", "/admin/tenants/apikey/{}/change/"])
def test_a_form_of_a_key_does_not_undo_a_change_that_commits_meanwhile(
    admin: Client, cast: Cast, page: str
) -> None:
    key, _ = key_create(tenant=cast.acme, name="k", actor="tests")
    page = page.format(key.pk)
    version = admin.get(page).content.decode().partition('name="version" value="')[2].partition('"')[0]
    form = {"name": "renamed", "scopes": ["inference"], "version": version}
    response = during(
        lambda: key_update(key_id=key.pk, actor="tests", requests_per_minute=7),
        lambda: admin.post(page, form),
    )
    assert CHANGED in response.content.decode()
    key = ApiKey.objects.get(pk=key.pk)
    assert (key.name, key.requests_per_minute) == ("k", 7)


def test_a_member_who_is_removed_twice_at_once_is_gone(admin: Client, cast: Cast) -> None:
    def remove() -> None:
        membership_remove(tenant=cast.acme, user=cast.member, actor="tests")

    def add() -> Membership:
        return membership_set(tenant=cast.acme, user=cast.member, role="member", actor="tests")

    assert (
        during(remove, lambda: admin.delete("/api/admin/v1/tenants/acme/members/member")).status_code == 404
    )
    page = f"/console/acme/members/{add().user_id}/"
    assert during(remove, lambda: admin.post(page, {"action": "remove"})).status_code == 302
    page = f"/admin/tenants/membership/{add().pk}/delete/"
    assert during(remove, lambda: admin.post(page, {"post": "yes"})).status_code == 302
    assert not Membership.objects.filter(user=cast.member).exists()


def test_a_model_that_is_removed_twice_at_once_is_gone(admin: Client) -> None:
    def remove() -> None:
        model_remove(name="m", actor="tests")

    model_register(name="m", actor="tests")
    assert during(remove, lambda: admin.delete("/api/admin/v1/models/m")).status_code == 404
    page = f"/admin/registry/servedmodel/{model_register(name='m', actor='tests').pk}/delete/"
    assert during(remove, lambda: admin.post(page, {"post": "yes"})).status_code == 302


def test_a_name_that_another_request_takes_at_the_same_moment_is_refused_as_taken(
    admin: Client, cast: Cast
) -> None:
    tenant = {"slug": "initech", "name": "Initech"}
    api = during(
        lambda: tenant_create(slug="initech", name="Initech", actor="tests"),
        lambda: admin.post("/api/admin/v1/tenants", tenant, content_type="application/json"),
    )
    assert (api.status_code, api.json()["error"]["param"]) == (400, "slug")

    form = {"slug": "hooli", "name": "Hooli", "tier": "standard"}
    page = "/admin/tenants/tenant/add/"
    during(lambda: tenant_create(slug="hooli", name="H", actor="tests"), lambda: admin.post(page, form))
    assert "already exists" in admin.get(page).content.decode()

    account = {"tenant": str(cast.acme.pk), "name": "nightly"}
    page = "/admin/tenants/serviceaccount/add/"
    during(
        lambda: service_account_create(tenant=cast.acme, name="nightly", actor="tests"),
        lambda: admin.post(page, account),
    )
    assert ServiceAccount.objects.count() == 1
    assert "already" in admin.get(page).content.decode()

    password = {"password1": "Kx92-alpha-kilo", "password2": "Kx92-alpha-kilo", "usable_password": "true"}
    page = "/admin/auth/user/add/"
    during(lambda: User.objects.create_user("new"), lambda: admin.post(page, {"username": "new", **password}))
    assert "already exists" in admin.get(page).content.decode()


def test_a_person_whose_role_ends_keeps_no_administrative_key_of_the_same_moment(
    cast: Cast, redis_client: object
) -> None:
    def demote() -> None:
        membership_set(tenant=cast.acme, user=cast.member, role="member", actor="tests")

    def promote() -> None:
        membership_set(tenant=cast.acme, user=cast.member, role="admin", actor="tests")

    browser, page = signed_in(cast.member), "/console/acme/keys/"
    form = {"name": "k", "scopes": ["admin"], "lifetime_days": "30"}
    promote()
    creation = during(demote, lambda: browser.post(page, form))
    assert (creation.status_code, list(creation.json()["errors"])) == (422, ["__all__", "scopes"])
    promote()
    key, _ = key_create(tenant=cast.acme, name="k", actor="tests", created_by=cast.member)
    change = during(demote, lambda: browser.post(f"{page}{key.pk}/", {"name": "k", "scopes": ["admin"]}))
    assert change.status_code == 422
    assert not ApiKey.objects.filter(scopes__contains=["admin"]).exists()
    assert key_update(key_id=key.pk, actor="tests", name="renamed").name == "renamed"
