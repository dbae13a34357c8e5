"""Roles and isolation of every address of the administrative API, generated from its URL table."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import transaction

from api.admin_api.access import MANAGE, OPERATE, OWN, PUBLIC, READ, RENAME, USE, Rule
from api.admin_api.base import AdminView
from api.admin_api.urls import urlpatterns
from inference_worker.registry.services import model_register
from tenants.keys.services import key_create
from tenants.members.services import membership_set
from tenants.models import ApiKey
from tests.admin_api.conftest import Answer, ApiClient, NewKey
from tests.people import Cast
from training.jobs.services import job_insert
from training.models import JobCheckpoint
from training.requests.job_request import JobRequest

pytestmark = [pytest.mark.django_db, pytest.mark.criterion("6.2")]

# The rule of every method of every address. A new address needs an entry here.
RULES: dict[str, dict[str, Rule]] = {
    "document": {"GET": PUBLIC},
    "tenants": {"GET": READ, "POST": OPERATE},
    "tenant": {"GET": READ, "PATCH": RENAME},
    "members": {"GET": READ},
    "member": {"GET": READ, "PUT": OWN, "DELETE": OWN},
    "keys": {"GET": READ, "POST": USE},
    "key": {"GET": READ, "PATCH": USE},
    "key-rotation": {"POST": USE},
    "key-revocation": {"POST": USE},
    "tenant-usage": {"GET": READ},
    "tenant-usage-records": {"GET": READ},
    "tenant-requests": {"GET": READ},
    "tenant-changes": {"GET": READ},
    "tenant-refusals": {"GET": READ},
    "tenant-jobs": {"GET": READ},
    "job": {"GET": READ},
    "job-cancel": {"POST": USE},
    "job-pause": {"POST": USE},
    "job-resume": {"POST": USE},
    "job-checkpoints": {"GET": READ},
    "checkpoint-publication": {"POST": USE},
    "models": {"GET": READ, "POST": OPERATE},
    "model": {"GET": READ, "PATCH": OPERATE, "DELETE": OPERATE},
    "workers": {"GET": READ},
    "usage": {"GET": OPERATE},
    "usage-records": {"GET": OPERATE},
    "requests": {"GET": OPERATE},
    "changes": {"GET": OPERATE},
    "refusals": {"GET": OPERATE},
    "jobs": {"GET": OPERATE},
    "root": {"GET": PUBLIC},
    "unknown": {"GET": PUBLIC},
}
# Members may change only their own keys, so they are refused the keys of others.
OF_MANAGERS = frozenset({("key", "PATCH"), ("key-rotation", "POST"), ("key-revocation", "POST")})
BODIES: dict[tuple[str, str], dict[str, Any]] = {
    ("tenant", "PATCH"): {"name": "New"},
    ("member", "PUT"): {"role": "member"},
    ("key", "PATCH"): {"name": "New"},
    ("keys", "POST"): {"name": "New"},
}


@dataclass(frozen=True)
class Operation:
    """A method of an address."""

    name: str
    template: str
    method: str
    rule: Rule

    @property
    def is_of_tenant(self) -> bool:
        """True if the URL names a tenant."""
        return "<str:tenant>" in self.template

    def path(self, values: dict[str, str]) -> str:
        """Return the path with its arguments."""
        return re.sub(r"<\w+:(\w+)>", lambda match: values[match[1]], self.template)

    def call(self, client: ApiClient, values: dict[str, str]) -> Answer:
        """Send the request, and undo its changes."""
        body = BODIES.get((self.name, self.method), {})
        with transaction.atomic():
            answer = client(
                self.method, self.path(values), None if self.method == "GET" else body, if_match="*"
            )
            transaction.set_rollback(True)
        return answer


def operations() -> Iterator[Operation]:
    """Yield every operation with a rule that isn't public."""
    for pattern in urlpatterns:
        name = str(pattern.name)
        for method, rule in RULES[name].items():
            if rule is not PUBLIC:
                yield Operation(name, str(pattern.pattern), method, rule)


@pytest.fixture
def values(cast: Cast, redis_client: object) -> dict[str, str]:
    """Arguments of the addresses: objects of acme."""
    key, _ = key_create(tenant=cast.acme, name="other", actor="tests", user=cast.owner)
    job = job_insert(
        JobRequest(base_model="base", method="supervised", training_file="file-1"),
        tenant=cast.acme,
        actor="tests",
    )
    checkpoint = JobCheckpoint.objects.create(id="ftckpt_1", job=job, step=1, folder="step-00000001")
    model_register(name="org/base", actor="tests")
    return {
        "tenant": "acme",
        "username": "member",
        "key_id": str(key.pk),
        "job_id": job.id,
        "checkpoint_id": checkpoint.id,
        "name": "org/base",
        "rest": "nothing",
    }


@pytest.fixture
def callers(cast: Cast, with_key: NewKey) -> dict[str, tuple[ApiClient, str]]:
    """Callers and their roles in acme."""
    people = {"owner": cast.owner, "member": cast.member}
    for role in ("admin", "viewer"):
        people[role] = User.objects.create_user(role)
        membership_set(tenant=cast.acme, user=people[role], role=role, actor="tests")
    clients = {role: (ApiClient(user=user), role) for role, user in people.items()}
    clients["key with admin"] = (with_key("admin", "inference"), "admin")
    clients["key with admin.read"] = (with_key("admin.read"), "viewer")
    return clients


def test_every_address_has_the_rule_that_is_declared_here() -> None:
    views = {pattern.name: pattern.callback.view_class for pattern in urlpatterns}  # type: ignore[attr-defined]
    assert {name: view.access for name, view in views.items()} == RULES
    assert len(views) == len(urlpatterns)


def test_a_view_without_a_rule_for_a_method_can_not_be_defined() -> None:
    def get(self: AdminView) -> None:
        """Do nothing."""

    with pytest.raises(TypeError, match="access must have a rule for each of"):
        type("Forgetful", (AdminView,), {"get": get, "access": {}})


def test_each_role_may_do_what_its_rule_says_and_nothing_else(
    callers: dict[str, tuple[ApiClient, str]], values: dict[str, str]
) -> None:
    faults = []
    for caller, (client, role) in callers.items():
        for operation in operations():
            is_allowed = role in operation.rule.roles
            if (operation.name, operation.method) in OF_MANAGERS:
                is_allowed = role in MANAGE.roles
            answer = operation.call(client, values)
            if answer.status >= 500 or (answer.status in (401, 403, 404)) is is_allowed:
                faults.append((caller, operation.name, operation.method, answer.status))
    assert faults == []


def test_operators_may_do_everything(operator: ApiClient, values: dict[str, str]) -> None:
    statuses = {op.name + op.method: op.call(operator, values).status for op in operations()}
    assert {name: status for name, status in statuses.items() if status not in (200, 201, 400)} == {}


def test_strangers_get_the_same_404_as_for_a_tenant_that_does_not_exist(
    stranger: ApiClient, with_key: NewKey, cast: Cast, values: dict[str, str]
) -> None:
    for client in (stranger, with_key("admin", tenant=cast.globex)):
        for operation in operations():
            if not operation.is_of_tenant:
                continue
            answer = operation.call(client, values)
            nowhere = operation.call(client, {**values, "tenant": "no-such"})
            assert (answer.status, answer.body["error"]["code"]) == (404, "object_not_found"), operation
            message = answer.body["error"]["message"].replace("acme", "no-such")
            assert (nowhere.status, nowhere.body["error"]["message"]) == (404, message), operation


def test_objects_of_another_tenant_are_not_found_in_ones_own(
    stranger: ApiClient, values: dict[str, str]
) -> None:
    for operation in operations():
        is_addition = (operation.name, operation.method) == ("member", "PUT")
        if operation.is_of_tenant and operation.template.count("<") > 1 and not is_addition:
            answer = operation.call(stranger, {**values, "tenant": "globex"})
            assert (answer.status, answer.body["error"]["code"]) == (404, "object_not_found"), operation


def test_without_a_caller_nothing_but_the_document_is_available(values: dict[str, str]) -> None:
    for operation in operations():
        answer = operation.call(ApiClient(), values)
        assert answer.error[:2] == (401, "missing_api_key"), operation
        assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert ApiClient()("GET", "openapi.json").status == 200


@pytest.mark.parametrize(("method", "scope"), [("GET", "admin.read"), ("POST", "admin")])
def test_a_key_without_a_scope_is_told_the_least_that_the_method_needs(
    cast: Cast, method: str, scope: str
) -> None:
    answer = ApiClient(key=cast.acme_key)(method, "tenants/acme/keys")
    message = f"This API key lacks the scope '{scope}', which this endpoint requires."
    assert (answer.status, answer.body["error"]["message"]) == (403, message)


@pytest.mark.criterion("6.1")
def test_faulty_keys_get_the_errors_of_the_public_api(with_key: NewKey, cast: Cast) -> None:
    client = with_key("admin")
    row = ApiKey.objects.get(prefix=client.key.split("-")[2])
    assert ApiClient(key=cast.acme_key)("GET", "tenants").error[:2] == (403, "insufficient_scope")
    assert ApiClient(key="sk-cy-nonsense")("GET", "tenants").error[:2] == (401, "invalid_api_key")
    assert ApiClient(key=client.key[:-1] + "!")("GET", "tenants").error[:2] == (401, "invalid_api_key")
    basic = ApiClient()("GET", "tenants", authorization="Basic abc")
    assert basic.error[:2] == (401, "invalid_authorization")
    ApiKey.objects.filter(pk=row.pk).update(allowed_networks=["192.0.2.0/24"])
    assert client("GET", "tenants").status == 403
    ApiKey.objects.filter(pk=row.pk).update(allowed_networks=["127.0.0.0/8"])
    assert client("GET", "tenants").status == 200
    cast.acme.active = False
    cast.acme.save()
    assert client("GET", "tenants").error[:2] == (403, "tenant_inactive")
    cast.acme.active = True
    cast.acme.save()
    ApiKey.objects.filter(pk=row.pk).update(expires_at="2020-01-01T00:00:00Z")
    assert client("GET", "tenants").error[:2] == (401, "key_expired")
    ApiKey.objects.filter(pk=row.pk).update(revoked_at="2020-01-01T00:00:00Z")
    assert client("GET", "tenants").error[:2] == (401, "key_revoked")


def test_a_session_needs_a_csrf_token_for_changes_and_a_key_does_not(cast: Cast, with_key: NewKey) -> None:
    from django.test import Client

    client = Client(enforce_csrf_checks=True)
    client.force_login(cast.owner)
    body: dict[str, Any] = {"data": b'{"name": "x"}', "content_type": "application/json"}
    refusal = client.post("/api/admin/v1/tenants/acme/keys", **body)
    assert (refusal.status_code, refusal.json()["error"]["code"]) == (403, "csrf_failed")
    client.get("/admin/login/")
    client.cookies["csrftoken"] = "a" * 32
    headers = {"x-csrftoken": "a" * 32}
    assert client.post("/api/admin/v1/tenants/acme/keys", **body, headers=headers).status_code == 201
    assert with_key("admin")("POST", "tenants/acme/keys", {"name": "y"}).status == 201


def test_ids_of_any_form_get_the_error_of_an_unknown_object(
    operator: ApiClient, values: dict[str, str]
) -> None:
    for operation in operations():
        arguments = re.findall(r"<\w+:(\w+)>", operation.template)
        for argument in arguments:
            answer = operation.call(operator, {**values, argument: "xx"})
            message = answer.body["error"]["message"]
            assert (answer.status, answer.body["error"]["code"]) == (404, "object_not_found"), operation
            assert message.endswith("'xx' does not exist or you do not have access to it."), operation


def test_ids_that_no_object_can_have_are_not_found(operator: ApiClient, cast: Cast) -> None:
    for path in (
        "tenants/%00",
        "tenants/a%00b/keys",
        f"tenants/acme/keys/{uuid.uuid4()}",
        "tenants/acme/keys/not-a-uuid",
        "tenants/acme/jobs/" + "x" * 3000,
        "tenants/acme/members/%FF",
        "models/%C3%28",
        "models/" + "m" * 3000,
    ):
        assert operator("GET", path).status == 404, path
