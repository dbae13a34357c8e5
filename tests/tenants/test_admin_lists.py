"""Contents of the admin's lists and pages: counts, states, changes and links to an object's history."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.utils import timezone

from backoffice.request_ids import request_id
from inference_worker.registry.services import model_register
from tenants.audit_trail.change_texts import change_lines
from tenants.keys.selectors import KeyState, key_state, key_state_condition
from tenants.keys.services import key_create, key_revoke
from tenants.models import AdminAudit, ApiKey
from tenants.services import tenant_create, tenant_update

if TYPE_CHECKING:
    from tests.people import Cast

pytestmark = pytest.mark.django_db


@pytest.fixture
def admin(cast: Cast) -> Client:
    """Return a client signed in as the owner, a superuser."""
    User.objects.filter(pk=cast.owner.pk).update(is_staff=True, is_superuser=True)
    client = Client()
    client.force_login(User.objects.get(pk=cast.owner.pk))
    return client


@pytest.fixture
def keys_by_state(cast: Cast) -> dict[KeyState, ApiKey]:
    """Create one key in each state; the disabled one is of an inactive tenant."""
    closed_tenant = tenant_create(slug="closed", name="Closed", actor="tests")
    keys = {
        state: key_create(
            tenant=closed_tenant if state is KeyState.DISABLED else cast.acme,
            name=f"is-{state}",
            actor="tests",
        )[0]
        for state in KeyState
    }
    tenant_update(tenant_id=closed_tenant.id, actor="tests", active=False)
    past = timezone.now() - dt.timedelta(seconds=1)
    ApiKey.objects.filter(pk=keys[KeyState.EXPIRED].pk).update(expires_at=past)
    key_revoke(key_id=keys[KeyState.REVOKED].pk, actor="tests")
    return keys


@pytest.mark.case("admin.8")
def test_keys_can_be_filtered_by_state(admin: Client, keys_by_state: dict[KeyState, ApiKey]) -> None:
    now = timezone.now()
    for state in KeyState:
        page = admin.get("/admin/tenants/apikey/", {"state": state.value})
        listed_ids = {key.pk for key in page.context["cl"].queryset}
        assert keys_by_state[state].pk in listed_ids
        assert listed_ids == {key.pk for key in ApiKey.objects.all() if key_state(key, now) is state}
        assert ApiKey.objects.filter(key_state_condition(state, now)).count() == len(listed_ids)
    assert admin.get("/admin/tenants/apikey/", {"state": "odd"}).context["cl"].result_count == 6


def test_a_revoked_key_offers_neither_rotation_nor_revocation(
    admin: Client, keys_by_state: dict[KeyState, ApiKey]
) -> None:
    for state, is_offered in ((KeyState.VALID, True), (KeyState.EXPIRED, True), (KeyState.REVOKED, False)):
        page = f"/admin/tenants/apikey/{keys_by_state[state].pk}"
        text = admin.get(f"{page}/change/").content.decode()
        assert (f"{page}/revoke/" in text) is is_offered
        assert (f"{page}/rotate/" in text) is is_offered


def test_the_list_of_tenants_counts_valid_keys_and_members_and_links_to_them(
    admin: Client, keys_by_state: dict[KeyState, ApiKey], cast: Cast
) -> None:
    (acme,) = admin.get("/admin/tenants/tenant/", {"q": "acme"}).context["cl"].queryset
    assert (acme.key_count, acme.member_count) == (2, 2)
    text = admin.get("/admin/tenants/tenant/").content.decode()
    address = f"/admin/tenants/apikey/?tenant__id__exact={cast.acme.id}&amp;state=valid"
    assert address in text
    key_list = admin.get(address.replace("&amp;", "&")).context["cl"]
    assert key_list.result_count == 2
    members = admin.get(f"/admin/tenants/membership/?tenant__id__exact={cast.acme.id}").context["cl"]
    assert {membership.user for membership in members.queryset} == {cast.owner, cast.member}


def test_the_history_of_an_object_shows_its_audit_records(admin: Client, cast: Cast) -> None:
    tenant_update(tenant_id=cast.acme.id, actor="tests", name="Acme Corporation")
    page = admin.get(f"/admin/tenants/tenant/{cast.acme.id}/history/", follow=True)
    changes = list(page.context["cl"].queryset)
    assert [change.action for change in changes] == ["tenant.update", "tenant.create"]
    assert {change.tenant_slug for change in changes} == {"acme"}
    assert "name: Acme → Acme Corporation" in page.content.decode()
    user_page = admin.get(f"/admin/auth/user/{cast.member.pk}/history/", follow=True)
    assert user_page.context["cl"].result_count == 0


def test_the_history_of_a_record_that_nobody_edits_is_the_record_itself(admin: Client, cast: Cast) -> None:
    change = AdminAudit.objects.latest("id")
    page = admin.get(f"/admin/tenants/adminaudit/{change.pk}/history/", follow=True)
    assert page.redirect_chain == [(f"/admin/tenants/adminaudit/{change.pk}/change/", 302)]
    assert page.status_code == 200


def test_a_list_offers_to_show_all_only_if_it_shows_a_part(
    admin: Client, keys_by_state: dict[KeyState, ApiKey]
) -> None:
    texts = {
        query: admin.get(f"/admin/{path}/?{query}").content.decode()
        for path, query in (
            *(("files/storedfile", query) for query in ("", "o=2", "q=x", "created_at__year=2020")),
            ("tenants/apikey", "state=revoked"),
        )
    }
    assert {query: "Show all" in text or "total</a>" in text for query, text in texts.items()} == {
        "": False,
        "o=2": False,
        "q=x": True,
        "created_at__year=2020": True,
        "state=revoked": True,
    }
    assert "Nothing matches the search and the filters." in texts["created_at__year=2020"]


@pytest.mark.parametrize("page", ["tenants/tenant", "tenants/apikey", "registry/servedmodel"])
def test_a_form_that_was_opened_before_another_change_does_not_undo_it(
    admin: Client, cast: Cast, page: str
) -> None:
    pk: object = cast.acme.pk
    if page == "tenants/apikey":
        pk = key_create(tenant=cast.acme, name="k", actor="tests")[0].pk
    elif page == "registry/servedmodel":
        pk = model_register(name="tiny", actor="tests").pk
    address = f"/admin/{page}/{pk}/change/"
    first_form, second_form = (_form(admin.get(address)) for _ in range(2))
    assert admin.post(address, first_form | {"name": "by-one", "owned_by": "one"}).status_code == 302
    answer = admin.post(address, second_form | {"name": "by-two", "owned_by": "two"})
    assert answer.status_code == 200
    assert "changed after you opened the page" in answer.content.decode()
    changes = AdminAudit.objects.filter(object_id=str(pk), action__endswith=".update")
    assert changes.count() == 1
    assert admin.post(address, _form(answer)).status_code == 302
    assert changes.count() == 2


def _form(response: Any) -> dict[str, Any]:
    """Return the fields of a page's form as a browser sends them."""
    values = {field.name: field.value() for field in response.context["adminform"].form}
    fields = {name: value for name, value in values.items() if value not in (None, False, [])}
    return {**fields, "version": response.context["version"]}


@pytest.mark.criterion("6.6")
def test_a_raised_limit_is_audited_with_actor_values_and_request_and_stays_as_it_is(
    admin: Client, cast: Cast
) -> None:
    tenant_update(tenant_id=cast.acme.id, actor="tests", concurrent_requests=5)
    token = request_id.set("request-of-the-form")
    page = f"/admin/tenants/tenant/{cast.acme.id}/change/"
    form = {"slug": "acme", "name": "Acme", "active": "on", "tier": "standard", "concurrent_requests": "8"}
    assert admin.post(page, form).status_code == 302
    request_id.reset(token)
    change = AdminAudit.objects.latest("id")
    assert (change.actor, change.before, change.after, change.request_id) == (
        "user:owner",
        {"concurrent_requests": 5},
        {"concurrent_requests": 8},
        "request-of-the-form",
    )
    row = f"/admin/tenants/adminaudit/{change.pk}/change/"
    change_page = admin.get(row).content.decode()
    for text in ("user:owner", "changed the tenant", "concurrent requests: 5 → 8", "request-of-the-form"):
        assert text in change_page
    for address in (row, page, "/admin/tenants/apikey/", "/admin/tenants/adminaudit/"):
        assert cast.acme_key.rsplit("-", 1)[1] not in admin.get(address).content.decode()
    assert admin.post(row, {"actor": "user:nobody"}).status_code == 403
    assert admin.post("/admin/tenants/adminaudit/add/", {"actor": "user:nobody"}).status_code == 403
    assert AdminAudit.objects.get(pk=change.pk).actor == "user:owner"


def test_a_change_lists_old_and_new_values() -> None:
    creation = AdminAudit(
        after={"name": "m", "source": "", "scopes": ["a", "b"], "enabled": False, "limit": None}
    )
    assert change_lines(creation) == ["name: m", "scopes: a, b", "enabled: false"]
    update = AdminAudit(before={"limit": None, "tags": ["x"]}, after={"limit": 5, "tags": []})
    assert change_lines(update) == ["limit: - → 5", "tags: x → -"]
    assert change_lines(AdminAudit(before={"role": "viewer"})) == ["role: viewer"]
    expiry = AdminAudit(before={"expires_at": None}, after={"expires_at": "2026-01-02T03:04:05.678901+00:00"})
    assert change_lines(expiry) == ["expires_at: - → 2026-01-02 03:04:05"]
    assert change_lines(AdminAudit()) == []


def test_markup_in_a_change_is_escaped(admin: Client, cast: Cast) -> None:
    tenant_update(tenant_id=cast.acme.id, actor="tests", name="<script>alert(1)</script>")
    text = admin.get("/admin/tenants/adminaudit/").content.decode()
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "<script>alert(1)" not in text


def test_the_sidebar_lists_only_pages_that_the_user_may_see(admin: Client, cast: Cast) -> None:
    groups = admin.get("/admin/").context["sidebar_navigation"]
    assert [(group["title"], len(group["items"])) for group in groups] == [
        ("Access", 5),
        ("Serving", 3),
        ("Fine-tuning", 6),
        ("Records", 5),
    ]
    for group in groups:
        for entry in group["items"]:
            assert admin.get(entry["link"]).status_code == 200, entry["title"]
    User.objects.filter(pk=cast.member.pk).update(is_staff=True)
    cast.member.user_permissions.add(Permission.objects.get(codename="view_usagerecord"))
    viewer = Client()
    viewer.force_login(User.objects.get(pk=cast.member.pk))
    (group,) = viewer.get("/admin/").context["sidebar_navigation"]
    assert [entry["title"] for entry in group["items"]] == ["Usage records"]


@pytest.mark.parametrize(
    ("page", "explanation"),
    [
        ("/admin/tenants/usagerecord/", "New records appear here automatically."),
        ("/admin/tenants/usagerecord/?q=none", "Nothing matches the search and the filters."),
        ("/admin/tenants/apikey/?q=none", "Nothing matches the search and the filters."),
        ("/admin/registry/servedmodel/", "Add model"),
    ],
)
def test_an_empty_list_explains_why(admin: Client, page: str, explanation: str) -> None:
    text = admin.get(page).content.decode()
    assert "Nothing to show" in text
    assert explanation in text
