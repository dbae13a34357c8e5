"""Staff see and change what their roles allow, in their own tenants only: every page, every kind of user."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from django.contrib import admin as django_admin
from django.contrib.auth.models import Permission, User
from django.test import Client, RequestFactory

from backoffice.tenant_access import TenantAccess
from cyllm_site.checks import check_tenant_access
from tenants.models import ApiKey, Membership
from tests.site.harness.admin_urls import admin_urls
from tests.site.harness.admin_visitor import Page, Visitor
from tests.site.harness.admin_visitor import plain_error_pages as plain_error_pages

if TYPE_CHECKING:
    from tests.people import Cast

pytestmark = [pytest.mark.django_db, pytest.mark.case("robustness.15")]
ROLES = ("owner", "admin", "member", "viewer")


def staff(cast: Cast, role: str, tenant: str = "acme") -> User:
    """Create staff with every Django permission and one membership; none for an empty role."""
    user = User.objects.create_user(f"staff-{role}-{tenant}", is_staff=True)
    user.user_permissions.set(Permission.objects.all())
    if role:
        Membership.objects.create(tenant=getattr(cast, tenant), user=user, role=role)
    return user


def signed_in(user: User) -> Client:
    """Return a client of this user."""
    client = Client(raise_request_exception=False)
    client.force_login(user)
    return client


def rows_of_acme(cast: Cast) -> dict[str, object]:
    """Return the id of one row of acme for each kind of page."""
    return {
        "tenants/tenant": cast.acme.pk,
        "tenants/apikey": ApiKey.objects.get(tenant=cast.acme).pk,
        "tenants/membership": Membership.objects.get(user=cast.member).pk,
    }


def test_every_page_states_how_its_rows_belong_to_tenants() -> None:
    assert check_tenant_access() == []


@pytest.mark.usefixtures("plain_error_pages")
@pytest.mark.parametrize(("role", "tenant"), [("", "acme"), *((role, "globex") for role in ROLES)])
def test_no_page_shows_or_changes_a_row_of_another_tenant(role: str, tenant: str, cast: Cast) -> None:
    visitor = Visitor(staff(cast, role, tenant))
    secret_names = (ApiKey.objects.get(tenant=cast.acme).prefix, str(cast.acme.pk))
    rows = rows_of_acme(cast)
    faults = []
    for url in admin_urls():
        argument = rows.get(url.model, 1)
        answer = visitor.client.post(url.path(argument))
        pages = (
            visitor.follow(url.path(argument)),
            Page(answer.status_code, "", answer.content.decode(errors="replace")),
        )
        for page in pages:
            assert page is not None, f"{url.path(argument)} redirects for ever"
            text = page.text.replace(url.path(argument), "")
            is_own_form = url.model not in rows
            if url.has_argument and not is_own_form and 'name="grace_s"' in text:
                faults.append(url.path(argument))
            if page.status >= 500 or (page.status == 200 and secret_names[0] in text):
                faults.append(url.path(argument))
    assert not faults
    assert ApiKey.objects.filter(tenant=cast.acme, revoked_at=None, expires_at=None).count() == 1


@pytest.mark.parametrize("role", ["", *ROLES])
def test_lists_contain_rows_of_own_tenants_only(role: str, cast: Cast) -> None:
    request = RequestFactory().get("/admin/")
    request.user = staff(cast, role)
    for page in django_admin.site._registry.values():
        assert isinstance(page, TenantAccess)
        if page.tenant_path is not None:
            tenants = set(page.get_queryset(request).values_list(page.tenant_path, flat=True))
            assert tenants <= ({cast.acme.pk} if role else set())


@pytest.mark.parametrize("role", ROLES)
def test_roles_decide_who_changes_keys_and_members(role: str, cast: Cast) -> None:
    client = signed_in(staff(cast, role))
    key, member = rows_of_acme(cast)["tenants/apikey"], rows_of_acme(cast)["tenants/membership"]
    assert client.get(f"/admin/tenants/apikey/{key}/change/").status_code == 200
    revocation = client.post(f"/admin/tenants/apikey/{key}/revoke/").status_code
    assert revocation == (302 if role in ("owner", "admin") else 403)
    removal = client.post(f"/admin/tenants/membership/{member}/delete/", {"post": "yes"}).status_code
    assert removal == (302 if role == "owner" else 403)
    assert client.get("/admin/tenants/tenant/add/").status_code == 403


def test_a_form_accepts_own_tenants_only(cast: Cast) -> None:
    client = signed_in(staff(cast, "owner"))
    for page, form in (
        ("apikey", {"name": "stolen", "scopes": ["inference"]}),
        ("membership", {"user": cast.member.pk, "role": "owner"}),
    ):
        response = client.post(f"/admin/tenants/{page}/add/", {**form, "tenant": str(cast.globex.pk)})
        assert response.context["adminform"].errors.keys() == {"tenant"}
