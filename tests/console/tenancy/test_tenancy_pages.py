"""Keys, members, audit and usage of a tenant by role: what each person sees and may change."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
import redis
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone, translation

from inference_worker.registry.services import model_register
from tenants.keys.services import key_create, key_update
from tenants.members.services import membership_set, service_account_create
from tenants.models import AdminAudit, ApiKey, AuditRecord, Membership
from tenants.services import tenant_update
from tests.people import Cast, make_superuser
from tests.usage.records import usage_at

pytestmark = pytest.mark.django_db
SETTINGS = {"name": "new", "scopes": ["inference"], "holder": "", "lifetime_days": "90"}


@pytest.fixture(autouse=True)
def _redis(redis_client: redis.Redis) -> None:
    """Changes of keys are published."""


def _client(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def _get(user: User, path: str) -> Any:
    return _client(user).get(f"/console/acme/{path}")


def _post(user: User, path: str, **values: Any) -> Any:
    return _client(user).post(f"/console/acme/{path}", values)


def _with_role(cast: Cast, role: str) -> User:
    user = User.objects.create_user(f"a-{role}")
    membership_set(tenant=cast.acme, user=user, role=role, actor="t")
    return user


@pytest.mark.criterion("6.2")
def test_members_see_and_change_their_own_keys_managers_all_viewers_none(cast: Cast) -> None:
    own, _ = key_create(tenant=cast.acme, name="own-key", actor="t", created_by=cast.member)
    other, _ = key_create(tenant=cast.acme, name="owners-key", actor="t", created_by=cast.owner)
    foreign = ApiKey.objects.get(tenant=cast.globex)
    admin, viewer = _with_role(cast, "admin"), _with_role(cast, "viewer")
    for user, sees in ((cast.member, {"own-key"}), (admin, {"own-key", "owners-key"}), (viewer, set())):
        page = _get(user, "keys/").content.decode()
        assert {name for name in ("own-key", "owners-key") if name in page} == sees
    for user, key, status in (
        (cast.member, own, 200),
        (cast.member, other, 403),
        (cast.member, foreign, 404),
        (viewer, own, 403),
        (admin, own, 200),
    ):
        assert _get(user, f"keys/{key.id}/").status_code == status
    assert _post(cast.member, f"keys/{other.id}/revoke/").status_code == 403
    assert _post(cast.member, f"keys/{other.id}/rotate/", grace_s=3600).status_code == 403
    assert _post(viewer, "keys/", **SETTINGS).status_code == 403
    other.refresh_from_db()
    assert other.revoked_at is None


@pytest.mark.criterion("6.1")
def test_the_secret_is_in_the_answer_to_the_form_only(cast: Cast) -> None:
    model_register(name="tiny", actor="t")
    answer = _post(cast.member, "keys/", **SETTINGS, spend_per_month_microusd="12.50", allowed_models="tiny")
    secret = answer.json()["secret"]
    key = ApiKey.objects.get(name="new")
    assert (key.user, key.scopes, key.allowed_models) == (cast.member, ["inference"], ["tiny"])
    assert key.spend_per_month_microusd == 12_500_000
    assert key.expires_at is not None
    assert dt.timedelta(days=89) < key.expires_at - timezone.now() < dt.timedelta(days=91)
    random_part = secret.split("-", 3)[3]
    for path in ("keys/", f"keys/{key.id}/", "audit/"):
        page = _get(cast.owner, path).content.decode()
        assert key.prefix in page
        assert random_part not in page
        assert key.secret_hash not in page
    assert "no-store" in answer["Cache-Control"]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"name": ""}, "name"),
        ({"scopes": []}, "scopes"),
        ({"scopes": ["admin"]}, "scopes"),
        ({"allowed_networks": "192.0.2.1/24"}, "allowed_networks"),
        ({"allowed_models": "not-a-model"}, "allowed_models"),
        ({"spend_per_day_microusd": "ten"}, "spend_per_day_microusd"),
        ({"holder": "somebody"}, "holder"),
        ({"requests_per_minute": "-1"}, "requests_per_minute"),
    ],
)
def test_a_fault_of_the_form_is_named_by_field_and_creates_nothing(
    cast: Cast, changes: dict[str, Any], field: str
) -> None:
    answer = _post(cast.member, "keys/", **{**SETTINGS, **changes})
    assert answer.status_code == 422
    assert [name for name, texts in answer.json()["errors"].items() if texts] == [field]
    assert not ApiKey.objects.filter(name="new").exists()


def test_managers_create_keys_of_service_accounts_and_with_administrative_scopes(cast: Cast) -> None:
    account = service_account_create(tenant=cast.acme, name="reports", actor="t")
    values = {**SETTINGS, "holder": str(account.pk), "scopes": ["admin", "inference"]}
    assert _post(cast.owner, "keys/", **values).status_code == 200
    key = ApiKey.objects.get(name="new")
    assert (key.service_account, key.user, key.scopes) == (account, None, ["admin", "inference"])
    assert _post(cast.member, "keys/", **{**values, "name": "second"}).status_code == 422


def test_settings_are_changed_and_a_revoked_key_stays(cast: Cast) -> None:
    key, _ = key_create(tenant=cast.acme, name="mine", actor="t", created_by=cast.member)
    changes = {**SETTINGS, "name": "renamed", "concurrent_requests": "4"}
    assert _post(cast.member, f"keys/{key.id}/", **changes).status_code == 302
    key.refresh_from_db()
    assert (key.name, key.concurrent_requests) == ("renamed", 4)
    assert _post(cast.member, f"keys/{key.id}/revoke/").json() == {"prefix": key.prefix}
    answer = _post(cast.member, f"keys/{key.id}/", **changes | {"name": "again"})
    assert answer.status_code == 422
    assert "A revoked key can" in answer.content.decode()
    assert _post(cast.member, f"keys/{key.id}/rotate/", grace_s=3600).status_code == 422


@pytest.mark.case("admin.9")
@pytest.mark.parametrize("form", ["sk-cy-{}-abc", "{}", "sk-cy-{}-…", "lapt", "member"])
def test_any_form_of_a_key_its_name_and_its_holder_find_it(cast: Cast, form: str) -> None:
    key, _ = key_create(tenant=cast.acme, name="laptop", actor="t", created_by=cast.member)
    page = _client(cast.owner).get("/console/acme/keys/", {"q": form.format(key.prefix)}).content.decode()
    assert page.count("data-key=") == 1
    assert f'data-key="{key.prefix}"' in page


@pytest.mark.case("admin.8")
def test_the_list_shows_the_state_with_which_the_api_answers(cast: Cast) -> None:
    tenant_update(tenant_id=cast.acme.id, actor="t", active=False)
    page = _get(cast.owner, "keys/").content.decode()
    assert "tenant inactive" in page
    assert ">valid<" not in page.split("<tbody>")[1]


@pytest.mark.case("admin.11")
@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("keys/?state=good", "state"),
        ("usage/?tz=Moon", "tz"),
        ("usage/?by=colour", "by"),
        ("usage/?from=x", "from"),
        ("usage/records/?key=x", "key"),
        ("audit/requests/?status=abc", "status"),
    ],
)
def test_an_unknown_value_of_a_filter_is_named(cast: Cast, path: str, name: str) -> None:
    response = _get(cast.owner, path)
    assert response.status_code == 400
    assert f"“{name}”" in response.content.decode()


def test_only_owners_add_change_and_remove_members_and_the_last_owner_stays(cast: Cast) -> None:
    newcomer = User.objects.create_user("newcomer")
    admin = _with_role(cast, "admin")
    for user in (cast.member, admin):
        assert _post(user, "members/", username="newcomer", role="member").status_code == 403
        assert _post(user, f"members/{cast.owner.pk}/", action="remove").status_code == 403
    assert _post(cast.owner, "members/", username="newcomer", role="member").status_code == 302
    assert Membership.objects.get(user=newcomer, tenant=cast.acme).role == "member"
    assert _post(cast.owner, f"members/{newcomer.pk}/", role="viewer").status_code == 302
    assert Membership.objects.get(user=newcomer, tenant=cast.acme).role == "viewer"
    assert _post(cast.owner, f"members/{newcomer.pk}/", action="remove").status_code == 302
    assert not Membership.objects.filter(user=newcomer).exists()
    _post(cast.owner, f"members/{cast.owner.pk}/", action="remove")
    _post(cast.owner, f"members/{cast.owner.pk}/", role="member")
    assert Membership.objects.get(user=cast.owner, tenant=cast.acme).role == "owner"
    assert _post(cast.owner, f"members/{cast.stranger.pk}/", role="admin").status_code == 404


@pytest.mark.parametrize(("username", "text"), [("nobody", "no account"), ("member", "a member already")])
def test_the_reason_why_a_person_cannot_be_added_is_beside_the_field(
    cast: Cast, username: str, text: str
) -> None:
    response = _post(cast.owner, "members/", username=username, role="admin")
    assert response.status_code == 422
    assert text in response.content.decode()
    assert Membership.objects.get(user=cast.member).role == "member"


@pytest.mark.parametrize(
    ("is_operator", "advice"),
    [(False, "Ask an operator to create it."), (True, "Create it with “Create an account” first.")],
)
def test_who_adds_an_unknown_account_learns_how_it_is_created(
    cast: Cast, is_operator: bool, advice: str
) -> None:
    user = make_superuser(cast.owner) if is_operator else cast.owner
    page = _post(user, "members/", username="nobody", role="admin").content.decode()
    assert f"There is no account with this name. {advice}" in page
    assert ("Create an account</a>" in page) is is_operator


def test_a_tenant_without_members_says_so(cast: Cast) -> None:
    operator = make_superuser(cast.stranger)
    assert "No members yet" not in _get(operator, "members/").content.decode()
    Membership.objects.filter(tenant=cast.acme).delete()
    page = _get(operator, "members/").content.decode()
    assert "No members yet" in page
    assert "<table>" not in page


@pytest.mark.criterion("6.6")
def test_a_change_is_shown_as_before_and_after_of_the_differing_fields_only(cast: Cast) -> None:
    tenant_update(tenant_id=cast.acme.id, actor="user:owner", spend_per_month_microusd=5_000_000)
    tenant_update(tenant_id=cast.acme.id, actor="user:owner", spend_per_month_microusd=8_000_000)
    page = _get(cast.member, "audit/").content.decode()
    newest = page.split("<tbody>")[1].split("</tr>")[0]
    assert "owner" in newest
    assert "<del>$5.00</del> → <ins>$8.00</ins>" in newest
    assert newest.count("<dt>") == 1
    assert AdminAudit.objects.latest("id").after == {"spend_per_month_microusd": 8_000_000}


@pytest.mark.case("admin.17")
def test_scopes_roles_and_actions_are_words_in_lists_and_changes_and_are_found_by_them(cast: Cast) -> None:
    key, _ = key_create(tenant=cast.acme, name="k", actor="t", created_by=cast.owner, scopes=["inference"])
    key_update(key_id=key.id, actor="user:owner", scopes=["files.read", "inference"])
    _with_role(cast, "viewer")
    assert '<li title="inference">run models</li>' in _get(cast.owner, "keys/").content.decode()
    form = _get(cast.owner, f"keys/{key.id}/").content.decode()
    assert 'run models <code class="muted">inference</code>' in form
    page = _client(cast.owner).get("/console/acme/audit/", {"q": "changed a key"}).content.decode()
    assert page.count("<del>") == 1
    assert "<dt>scopes</dt><dd><del>run models</del> → <ins>read files, run models</ins></dd>" in page
    with translation.override("en"):
        page = (
            _client(cast.owner)
            .get("/console/acme/audit/", {"q": "设置了角色"}, headers={"accept-language": "zh-hans"})
            .content.decode()
        )
    assert "<dt>角色</dt>" in page
    assert "<ins>查看者</ins>" in page


def test_pages_count_requests_failures_and_tokens_in_the_same_way(cast: Cast) -> None:
    job = {"endpoint": "/v1/fine_tuning/jobs", "prompt_tokens": 0, "completion_tokens": 0}
    usage_at(cast.acme, timezone.now(), outcome="lost")
    usage_at(cast.acme, timezone.now(), outcome="failed")
    usage_at(cast.acme, timezone.now(), trained_tokens=1000, **job)
    page = _get(cast.owner, "usage/?tz=UTC").content.decode()
    assert 'data-total="requests">3</td><td class="number" data-label="Failed">2</td>' in page
    assert page.count(">1,030<") >= 1
    table = _get(cast.owner, "usage/?tz=UTC&format=csv").content.decode()
    assert ",3,2,20,0,10,1000," in table
    total = _client(make_superuser(cast.owner)).get("/admin/").context["overview"]["total"]
    assert (total.requests, total.failures, total.tokens) == (3, 2, 1030)


def _request(cast: Cast, number: int, **values: Any) -> AuditRecord:
    columns: dict[str, Any] = {
        "request_id": f"req-{number}",
        "correlation_id": f"trace-{number}",
        "tenant": cast.acme,
        "endpoint": "/v1/chat/completions",
        "model": "tiny",
        "outcome": "refused",
        "status": 429,
        "error_code": "rate_limit_exceeded",
        "key_prefix": "abcdefghijkl",
        "method": "POST",
        "duration_s": 0.1,
        "at": timezone.now(),
    }
    return AuditRecord.objects.create(**{**columns, **values})


@pytest.mark.case("admin.2")
@pytest.mark.parametrize(
    "query",
    [
        "id=req-2",
        "id=trace-2",
        "status=400",
        "code=bad",
        "model=big",
        "key=sk-cy-zyxwvutsrqpo-x",
        "status=40x",
    ],
)
def test_requests_are_found_by_id_key_status_model_and_code(cast: Cast, query: str) -> None:
    _request(cast, 1)
    _request(
        cast, 2, status=400, error_code="bad", model="", requested_model="big", key_prefix="zyxwvutsrqpo"
    )
    _request(cast, 3, tenant=cast.globex)
    page = _get(cast.member, f"audit/requests/?{query}").content.decode()
    if query == "status=40x":
        assert "“status”" in page
        return
    assert ("req-1<" in page, "req-2<" in page, "req-3<" in page) == (False, True, False)


@pytest.mark.parametrize("text", ["sk-cy-", "-x"])
def test_a_text_without_a_prefix_does_not_find_requests_without_a_key(cast: Cast, text: str) -> None:
    _request(cast, 1, key_prefix="")
    assert "req-1<" not in _get(cast.member, f"audit/requests/?key={text}").content.decode()


def test_a_refused_request_has_its_remedy_beside_it(cast: Cast) -> None:
    _request(cast, 1, error_param="temperature")
    page = _get(cast.member, "audit/requests/?status=4xx").content.decode()
    assert "Retry-After" in page
    assert "temperature" in page


def test_only_managers_verify_and_a_changed_record_is_found(cast: Cast) -> None:
    from tenants.audit_trail.models import Trail
    from tenants.audit_trail.sealing import audit_seal

    _request(cast, 1)
    audit_seal(Trail.REQUESTS)
    audit_seal(Trail.CHANGES)
    assert "sealed" in _get(cast.member, "audit/").content.decode()
    assert _post(cast.member, "audit/verify/").status_code == 403
    client = _client(cast.owner)
    page = client.post("/console/acme/audit/verify/", follow=True).content.decode()
    assert "All sealed records are unchanged." in page
    AuditRecord.objects.update(status=200)
    page = client.post("/console/acme/audit/verify/", follow=True).content.decode()
    assert "a record was changed" in page


def test_the_sum_of_a_member_has_the_records_of_all_the_members_keys(cast: Cast) -> None:
    keys = [key_create(tenant=cast.acme, name=f"k{n}", actor="t", created_by=cast.member)[0] for n in (1, 2)]
    for key in keys:
        usage_at(cast.acme, timezone.now(), key=key)
    usage_at(cast.acme, timezone.now())
    usage_at(cast.globex, timezone.now())
    page = _get(cast.owner, "usage/records/?member=member&tz=UTC").content.decode()
    assert page.count("<tr>") == 3
    assert "records and sums agree" in page
    for query, rows in (("tz=UTC", 4), ("member=&tz=UTC", 2), ("member=owner&tz=UTC", 0)):
        page = _get(cast.owner, f"usage/records/?{query}").content.decode()
        assert page.count("<tr>") == rows


def test_a_spreadsheet_takes_no_name_in_the_csv_for_a_formula(cast: Cast) -> None:
    key, _ = key_create(tenant=cast.acme, name="=1+1", actor="t", created_by=cast.member)
    usage_at(cast.acme, timezone.now(), key=key)
    table = _get(cast.owner, "usage/?by=key&format=csv&tz=UTC").content.decode()
    assert f"'=1+1 ({key.prefix})" in table
    assert ",=1" not in table


@pytest.mark.criterion("6.2")
def test_viewers_cannot_use_the_playground_and_strangers_do_not_find_it(cast: Cast) -> None:
    assert _post(_with_role(cast, "viewer"), "playground/key/").status_code == 403
    assert _post(cast.stranger, "playground/key/").status_code == 404
    answer = _post(cast.member, "playground/key/").json()
    assert answer["secret"].startswith(f"sk-cy-{answer['prefix']}-")
    assert answer["valid_s"] == 900
    page = _get(cast.member, "keys/").content.decode()
    assert "playground of member" in page
    assert f"keys/{ApiKey.objects.get(purpose='playground').id}/rotate" not in page


def test_a_form_of_a_key_that_was_opened_before_another_change_does_not_undo_it(cast: Cast) -> None:
    key, _ = key_create(tenant=cast.acme, name="k", actor="t", created_by=cast.owner)
    version = _get(cast.owner, f"keys/{key.id}/").context["form"].initial["version"]
    key_update(key_id=key.id, actor="user:maria", requests_per_minute=7)
    values = {**SETTINGS, "name": "renamed", "version": version}
    answer = _post(cast.owner, f"keys/{key.id}/", **values)
    assert answer.status_code == 422
    assert "changed after you opened the page" in answer.content.decode()
    key.refresh_from_db()
    assert (key.name, key.requests_per_minute) == ("k", 7)
    fields = {name: answer.context["form"][name].value() for name in ("version", "name", "scopes")}
    assert fields["name"] == "renamed"
    assert _post(cast.owner, f"keys/{key.id}/", **{**SETTINGS, **fields}).status_code == 302
    key.refresh_from_db()
    assert (key.name, key.requests_per_minute) == ("renamed", None)
