"""API keys through the administrative API, and requests that are repeated."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from api.admin_api.models import IdempotentAnswer
from inference_worker.registry.services import model_register
from tenants.keys.secrets import key_matches
from tenants.members.services import (
    membership_remove,
    membership_set,
    service_account_create,
    service_account_delete,
)
from tenants.models import AdminAudit, ApiKey
from tests.admin_api.conftest import ApiClient, NewKey
from tests.people import Cast

pytestmark = pytest.mark.django_db

KEYS = "tenants/acme/keys"


@pytest.mark.criterion("6.1")
def test_the_secret_is_shown_once_and_the_key_is_created_as_described(owner: ApiClient, cast: Cast) -> None:
    model_register(name="m", actor="tests")
    body = {
        "name": "ci",
        "scopes": ["inference"],
        "expires_at": "2030-01-31T12:00:00+02:00",
        "allowed_networks": ["192.0.2.0/24"],
        "limits": {"tokens_per_minute": 1000, "allowed_models": ["m"]},
    }
    creation = owner("POST", KEYS, body)
    assert creation.status == 201
    key = ApiKey.objects.get(name="ci")
    assert key_matches(creation.body["secret"], key.secret_hash)
    detail = owner("GET", f"{KEYS}/{key.pk}")
    assert detail.body == {name: value for name, value in creation.body.items() if name != "secret"}
    assert detail.etag == creation.etag
    assert (detail.body["expires_at"], detail.body["user"]) == ("2030-01-31T10:00:00Z", "owner")
    assert (detail.body["allowed_networks"], detail.body["limits"]["tokens_per_minute"]) == (
        ["192.0.2.0/24"],
        1000,
    )
    row = AdminAudit.objects.latest("id")
    assert (row.action, row.actor) == ("key.create", "user:owner")
    assert creation.body["secret"] not in str(row.after)


def test_a_key_is_changed_rotated_and_revoked(owner: ApiClient, cast: Cast) -> None:
    key = owner("POST", KEYS, {"name": "one"}).body
    path = f"{KEYS}/{key['id']}"
    change = owner("PATCH", path, {"name": "two", "limits": {"concurrent_requests": 2}}, if_match="*")
    assert (change.body["name"], change.body["limits"]["concurrent_requests"]) == ("two", 2)
    rotation = owner("POST", f"{path}/rotate", {"grace_s": 0})
    assert (rotation.status, rotation.body["replaces"], rotation.body["name"]) == (201, key["id"], "two")
    assert rotation.body["secret"] != key["secret"]
    assert owner("GET", path).body["state"] == "expired"
    assert owner("POST", f"{path}/rotate", {}).error[:2] == (400, "invalid_request")
    successor = f"{KEYS}/{rotation.body['id']}"
    for _ in range(2):
        assert owner("POST", f"{successor}/revoke").body["state"] == "revoked"
    assert owner("PATCH", successor, {"name": "three"}, if_match="*").error[:2] == (400, "invalid_request")
    states = [row["state"] for row in owner("GET", f"{KEYS}?state=revoked").body["data"]]
    assert states == ["revoked"]


def test_members_manage_their_own_keys_without_administrative_scopes(
    member: ApiClient, owner: ApiClient, cast: Cast
) -> None:
    service_account_create(tenant=cast.acme, name="nightly", actor="tests")
    own = member("POST", KEYS, {"name": "mine"})
    assert (own.status, own.body["user"]) == (201, "member")
    assert member("PATCH", f"{KEYS}/{own.body['id']}", {"name": "x"}, if_match="*").status == 200
    scopes = {"name": "much", "scopes": ["admin"]}
    assert member("POST", KEYS, scopes).error[:2] == (403, "insufficient_role")
    escalation = member("PATCH", f"{KEYS}/{own.body['id']}", {"scopes": ["admin"]}, if_match="*")
    assert escalation.error[:2] == (403, "insufficient_role")
    account = {"name": "robot", "service_account": "nightly"}
    assert member("POST", KEYS, account).error[:2] == (403, "insufficient_role")
    assert owner("POST", KEYS, account).body["service_account"] == "nightly"
    assert owner("POST", KEYS, scopes).status == 201


def test_keys_created_by_a_key_have_its_holder_and_end_with_it(with_key: NewKey, cast: Cast) -> None:
    account = service_account_create(tenant=cast.acme, name="nightly", actor="tests")
    membership_set(tenant=cast.acme, user=cast.member, role="admin", actor="tests")
    personal, program = with_key("admin", user=cast.member), with_key("admin", service_account=account)
    person_key = personal("POST", KEYS, {"name": "mine", "scopes": ["admin"]}).body
    assert (person_key["user"], person_key["created_by"]) == ("member", "member")
    program_key = program("POST", KEYS, {"name": "its"}).body
    assert (program_key["user"], program_key["service_account"]) == (None, "nightly")
    other = personal("POST", KEYS, {"name": "other", "service_account": "nightly"}).body
    assert (other["user"], other["service_account"], other["created_by"]) == (None, "nightly", "member")
    successor = personal("POST", f"{KEYS}/{other['id']}/rotate", {}).body
    assert (successor["service_account"], successor["created_by"]) == ("nightly", "member")
    membership_remove(tenant=cast.acme, user=cast.member, actor="tests")
    assert ApiClient(key=person_key["secret"])("GET", KEYS).error[:2] == (401, "key_revoked")
    service_account_delete(account_id=account.pk, actor="tests")
    assert ApiKey.objects.get(pk=program_key["id"]).revoked_at is not None


def test_a_key_of_the_tenant_creates_keys_of_the_tenant(with_key: NewKey, cast: Cast) -> None:
    operator = User.objects.create_superuser("operator")
    client = with_key("admin", created_by=operator)
    membership_set(tenant=cast.acme, user=operator, role="member", actor="tests")
    key = client("POST", KEYS, {"name": "another"}).body
    assert (key["user"], key["created_by"]) == (None, "operator")
    membership_remove(tenant=cast.acme, user=operator, actor="tests")
    assert ApiKey.objects.get(pk=key["id"]).revoked_at is None


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"name": "x", "expires_at": "tomorrow"}, "expires_at"),
        ({"name": "x", "expires_at": "2030-01-01T00:00:00"}, "expires_at"),
        ({"name": "x", "expires_at": 12}, "expires_at"),
        ({"name": "x", "expires_at": "9999-12-31T23:59:59-14:00"}, "expires_at"),
        ({"name": "x", "scopes": ["everything"]}, "scopes[0]"),
        ({"name": "x", "scopes": []}, "scopes"),
        ({"name": "x", "allowed_networks": ["192.0.2.1/24"]}, "allowed_networks"),
        ({"name": "x", "limits": {"spend_per_day_microusd": -1}}, "limits.spend_per_day_microusd"),
        ({"name": "x", "limits": {"requests": 1}}, "limits.requests"),
        ({"name": "x", "limits": {"allowed_models": ["absent"]}}, "limits.allowed_models"),
    ],
)
def test_faulty_settings_are_refused_by_name(owner: ApiClient, body: dict[str, object], param: str) -> None:
    answer = owner("POST", KEYS, body)
    assert (answer.status, answer.body["error"]["param"]) == (400, param)


def test_a_repeated_request_gets_the_first_answer_with_its_secret_again(owner: ApiClient, cast: Cast) -> None:
    first = owner("POST", KEYS, {"name": "once"}, idempotency_key="abc")
    again = owner("POST", KEYS, {"name": "once"}, idempotency_key="abc")
    assert (again.status, again.body, again.etag) == (201, first.body, first.etag)
    assert again.headers["Idempotency-Replayed"] == "true"
    assert ApiKey.objects.filter(name="once").count() == 1
    other = owner("POST", KEYS, {"name": "another"}, idempotency_key="abc")
    assert other.error[:2] == (422, "idempotency_key_reused")
    elsewhere = owner("POST", f"{KEYS}/{first.body['id']}/revoke", {"name": "once"}, idempotency_key="abc")
    assert elsewhere.error[:2] == (422, "idempotency_key_reused")


@pytest.mark.criterion("6.1")
def test_a_kept_answer_reveals_no_secret_without_the_clients_key(owner: ApiClient, cast: Cast) -> None:
    secret = owner("POST", KEYS, {"name": "once"}, idempotency_key="abcdef").body["secret"]
    row = IdempotentAnswer.objects.get()
    row_text = " ".join(str(value) for value in vars(row).values())
    assert secret not in row_text
    assert secret.split("-", 3)[3] not in row_text
    assert "abcdef" not in row_text


def test_after_a_change_of_the_secret_key_an_answer_is_read_with_the_old_one(
    owner: ApiClient, cast: Cast, settings: Any
) -> None:
    first = owner("POST", KEYS, {"name": "once"}, idempotency_key="abc")
    settings.SECRET_KEY_FALLBACKS, settings.SECRET_KEY = [settings.SECRET_KEY], "another" * 10
    assert owner("POST", KEYS, {"name": "once"}, idempotency_key="abc").body == first.body
    settings.SECRET_KEY_FALLBACKS = []
    again = owner("POST", KEYS, {"name": "once"}, idempotency_key="abc")
    assert again.error[:2] == (422, "idempotent_answer_unreadable")
    assert ApiKey.objects.filter(name="once").count() == 1


def test_callers_do_not_share_idempotency_keys(owner: ApiClient, with_key: NewKey, cast: Cast) -> None:
    owner("POST", KEYS, {"name": "k"}, idempotency_key="same")
    assert with_key("admin")("POST", KEYS, {"name": "k"}, idempotency_key="same").status == 201
    assert ApiKey.objects.filter(name="k").count() == 2


def test_a_refused_request_can_be_corrected_under_the_same_key(owner: ApiClient, cast: Cast) -> None:
    assert owner("POST", KEYS, {"name": ""}, idempotency_key="k").status == 400
    assert owner("POST", KEYS, {"name": "good"}, idempotency_key="k").status == 201
    for text in ("", "a" * 256, "ä"):
        code = owner("POST", KEYS, {"name": "x"}, idempotency_key=text).body["error"]["code"]
        assert code == "invalid_idempotency_key"


def test_answers_are_kept_for_a_day(owner: ApiClient, cast: Cast) -> None:
    owner("POST", KEYS, {"name": "old"}, idempotency_key="k")
    IdempotentAnswer.objects.update(created_at=timezone.now() - dt.timedelta(hours=25))
    assert owner("POST", KEYS, {"name": "new"}, idempotency_key="k").status == 201
    assert IdempotentAnswer.objects.count() == 1
