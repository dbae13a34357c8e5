"""Tenants, members and their limits through the administrative API."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User

from tenants.models import AdminAudit, ApiKey, Membership, Tenant
from tests.admin_api.conftest import ApiClient, NewKey
from tests.people import Cast

pytestmark = pytest.mark.django_db


def test_an_operator_creates_a_tenant_with_limits_and_the_change_is_audited(operator: ApiClient) -> None:
    body = {"slug": "initech", "name": "Initech", "tier": "priority", "limits": {"requests_per_minute": 60}}
    creation = operator("POST", "tenants", body)
    assert creation.status == 201
    assert creation.body["limits"] == {
        "requests_per_minute": 60,
        "tokens_per_minute": None,
        "concurrent_requests": None,
        "spend_per_day_microusd": None,
        "spend_per_month_microusd": None,
        "allowed_models": [],
    }
    assert operator("GET", "tenants/initech").body == creation.body
    row = AdminAudit.objects.latest("id")
    assert (row.action, row.actor, row.object_name) == ("tenant.create", "user:boss", "initech")
    assert row.after is not None
    assert row.after["requests_per_minute"] == 60


def test_a_taken_short_name_is_refused_by_name(operator: ApiClient) -> None:
    answer = operator("POST", "tenants", {"slug": "acme", "name": "Again"})
    assert answer.error == (400, "invalid_value", "slug")


def test_a_change_needs_the_version_that_was_read(operator: ApiClient, cast: Cast) -> None:
    read = operator("GET", "tenants/acme")
    assert operator("PATCH", "tenants/acme", {"name": "New"}).error[:2] == (428, "precondition_required")
    first = operator("PATCH", "tenants/acme", {"name": "First"}, if_match=read.etag)
    assert (first.status, first.body["name"]) == (200, "First")
    second = operator("PATCH", "tenants/acme", {"name": "Second"}, if_match=read.etag)
    assert second.error[:2] == (412, "precondition_failed")
    assert second.headers["ETag"] == first.etag
    assert operator("PATCH", "tenants/acme", {"name": "Second"}, if_match=first.etag).status == 200


def test_null_removes_a_limit_and_absent_ones_stay(operator: ApiClient, cast: Cast) -> None:
    limits = {"requests_per_minute": 5, "tokens_per_minute": 7}
    operator("PATCH", "tenants/acme", {"limits": limits}, if_match="*")
    answer = operator("PATCH", "tenants/acme", {"limits": {"requests_per_minute": None}}, if_match="*")
    assert answer.body["limits"]["requests_per_minute"] is None
    assert answer.body["limits"]["tokens_per_minute"] == 7
    row = AdminAudit.objects.latest("id")
    assert (row.before, row.after) == ({"requests_per_minute": 5}, {"requests_per_minute": None})


def test_owners_rename_their_tenant_but_change_no_limit_of_it(owner: ApiClient, cast: Cast) -> None:
    assert owner("PATCH", "tenants/acme", {"name": "Acme Ltd"}, if_match="*").status == 200
    answer = owner("PATCH", "tenants/acme", {"limits": {"requests_per_minute": None}}, if_match="*")
    assert answer.error[:2] == (403, "insufficient_role")
    assert "limits" in answer.body["error"]["message"]


def test_a_key_of_the_tenant_is_told_that_an_operator_changes_limits(with_key: NewKey, cast: Cast) -> None:
    limits = {"limits": {"requests_per_minute": None}}
    answer = with_key("admin")("PATCH", "tenants/acme", limits, if_match="*")
    assert answer.error[:2] == (403, "insufficient_role")
    assert "an operator of the platform for all else, but you have" in answer.body["error"]["message"]


def test_tenants_are_listed_in_pages(operator: ApiClient, owner: ApiClient, cast: Cast) -> None:
    for number in range(5):
        operator("POST", "tenants", {"slug": f"t{number}", "name": "T"})
    slugs, cursor = [], ""
    while True:
        answer = operator("GET", f"tenants?limit=3{cursor}")
        slugs += [tenant["slug"] for tenant in answer.body["data"]]
        if not answer.body["has_more"]:
            break
        cursor = f"&cursor={answer.body['next_cursor']}"
    assert slugs == ["acme", "globex", "t0", "t1", "t2", "t3", "t4"]
    assert [tenant["slug"] for tenant in owner("GET", "tenants").body["data"]] == ["acme"]


def test_an_owner_adds_changes_and_removes_members(owner: ApiClient, cast: Cast) -> None:
    User.objects.create_user("newcomer")
    assert owner("PUT", "tenants/acme/members/newcomer", {"role": "viewer"}).body["role"] == "viewer"
    assert owner("PUT", "tenants/acme/members/newcomer", {"role": "admin"}).body["role"] == "admin"
    names = [member["username"] for member in owner("GET", "tenants/acme/members").body["data"]]
    assert names == ["member", "newcomer", "owner"]
    assert owner("DELETE", "tenants/acme/members/newcomer").body["deleted"] is True
    assert not Membership.objects.filter(user__username="newcomer").exists()
    actions = AdminAudit.objects.filter(actor="user:owner").order_by("id").values_list("action", flat=True)
    assert list(actions) == ["membership.set", "membership.set", "membership.remove"]


def test_the_last_owner_stays(owner: ApiClient, cast: Cast) -> None:
    answer = owner("DELETE", "tenants/acme/members/owner")
    assert answer.error[:2] == (400, "invalid_request")
    assert "last owner" in answer.body["error"]["message"]
    assert owner("PUT", "tenants/acme/members/nobody", {"role": "admin"}).error[:2] == (
        404,
        "object_not_found",
    )


@pytest.mark.parametrize(
    ("path", "body", "error"),
    [
        ("tenants", {"slug": "a b", "name": "x"}, (400, "invalid_value", "slug")),
        ("tenants", {"slug": "ab"}, (400, "missing_required_parameter", "name")),
        ("tenants", {"slug": "ab", "name": "x", "nam": "y"}, (400, "unknown_parameter", "nam")),
        (
            "tenants",
            {"slug": "ab", "name": "x", "limits": {"request_per_minute": 4}},
            (400, "unknown_parameter", "limits.request_per_minute"),
        ),
        ("tenants", {"slug": "ab", "name": 3}, (400, "invalid_type", "name")),
        ("tenants", {"slug": "ab", "name": "a\0b"}, (400, "invalid_value", "name")),
        (
            "tenants",
            {"slug": "ab", "name": "x", "limits": {"requests_per_minute": 0}},
            (400, "integer_below_min_value", "limits.requests_per_minute"),
        ),
        ("tenants", [1], (400, "invalid_type", "body")),
        ("tenants", b"{", (400, "invalid_json", None)),
        ("tenants", b'{"slug": "a", "slug": "b"}', (400, "duplicate_key", "slug")),
    ],
)
def test_faulty_bodies_are_refused_by_name(
    operator: ApiClient, path: str, body: object, error: tuple[int, str, str]
) -> None:
    assert operator("POST", path, body).error == error


@pytest.mark.parametrize(
    ("body", "hint"),
    [
        ({"limit": {}}, " Did you mean 'limits'?"),
        ({"limits": {"request_per_minute": 4}}, " Did you mean 'limits.requests_per_minute'?"),
        ({"limits": {"limits": {}}}, ""),
        ({"limits": {"requests_per_minute": 4}, "requests_per_minute": 4}, ""),
    ],
)
def test_the_closest_known_parameter_of_the_same_object_is_suggested(
    owner: ApiClient, cast: Cast, body: dict[str, object], hint: str
) -> None:
    key = owner("POST", "tenants/acme/keys", {"name": "ci"}).body["id"]
    for method, path, fields in (
        ("POST", "tenants/acme/keys", {"name": "x"}),
        ("PATCH", f"tenants/acme/keys/{key}", {}),
    ):
        answer = owner(method, path, fields | body, if_match="*")
        assert answer.body["error"]["message"] == f"Unknown parameter: '{answer.error[2]}'.{hint}"


@pytest.mark.parametrize(
    ("query", "code", "param", "words"),
    [
        ("limt=3", "unknown_parameter", "limt", "Did you mean 'limit'?"),
        ("limit=0", "integer_below_min_value", "limit", ">= 1"),
        ("limit=x", "invalid_value", "limit", "integer"),
        ("limit=1&limit=2", "invalid_value", "limit", "more than once"),
        ("cursor=!", "invalid_value", "cursor", "next_cursor"),
        ("cursor=bnVsbA", "invalid_value", "cursor", "next_cursor"),
        ("cursor=W251bGxd", "invalid_value", "cursor", "next_cursor"),  # [null]
        ("cursor=WyJcdWQ4MDAiXQ", "invalid_value", "cursor", "next_cursor"),  # ["\ud800"]
        ("active=perhaps", "invalid_value", "active", "boolean"),
        ("active=%00", "invalid_value", "active", "NUL"),
    ],
)
def test_faulty_queries_are_refused_by_name(
    operator: ApiClient, query: str, code: str, param: str, words: str
) -> None:
    answer = operator("GET", f"tenants?{query}")
    assert answer.error == (400, code, param)
    assert words in answer.body["error"]["message"]


def test_the_answer_is_json_and_english_whatever_the_client_accepts(operator: ApiClient) -> None:
    answer = operator(
        "POST", "tenants", {"slug": "acme", "name": "A"}, accept="text/html", accept_language="zh-hans"
    )
    assert answer.headers["Content-Type"] == "application/json"
    assert "already exists" in answer.body["error"]["message"]
    assert operator("GET", "nothing").error[:2] == (404, "unknown_url")
    assert operator("PUT", "tenants", {}).error[:2] == (405, "method_not_allowed")
    assert operator("OPTIONS", "tenants").error[:2] == (405, "method_not_allowed")


def test_a_key_with_the_admin_scope_manages_its_tenant_under_its_own_name(
    with_key: NewKey, cast: Cast
) -> None:
    client = with_key("admin")
    assert client("GET", "tenants").body["data"][0]["role"] == "admin"
    assert client("GET", f"tenants/{cast.acme.pk}").body["slug"] == "acme"
    assert client("POST", "tenants/acme/keys", {"name": "made"}).status == 201
    row = AdminAudit.objects.latest("id")
    assert row.actor == f"key:{client.key.split('-')[2]}"
    assert Tenant.objects.count() == 2
    key = ApiKey.objects.get(prefix=client.key.split("-")[2])
    assert key.last_used_at is not None
