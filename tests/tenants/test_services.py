"""Changes of tenants, members and keys are stored, audited and published."""

from __future__ import annotations

import datetime as dt
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import redis
from django.core.exceptions import ValidationError
from django.db import DatabaseError, connection, transaction
from django.utils import timezone, translation

from inference_worker.protocol import names
from tenants import services
from tenants.audit_trail.differences import Difference, change_differences
from tenants.choices import Scope
from tenants.keys import selectors as key_selectors
from tenants.keys import services as key_services
from tenants.keys.secrets import key_matches, split_key
from tenants.members import selectors as member_selectors
from tenants.members import services as member_services
from tenants.models import AdminAudit, ApiKey, Membership, Tenant

if TYPE_CHECKING:
    from tests.people import Cast


@pytest.fixture
def changes(redis_client: Any) -> Iterator[redis.client.PubSub]:
    """Yield a subscriber to the gateways' channel of changes."""
    with redis_client.pubsub(ignore_subscribe_messages=True) as subscriber:
        subscriber.subscribe(names.CHANGES_CHANNEL)
        subscriber.get_message(timeout=2)
        yield subscriber


def received_changes(subscriber: redis.client.PubSub) -> list[str]:
    messages = []
    while message := subscriber.get_message(timeout=0.3):
        messages.append(message["data"].decode())
    return messages


def audit_rows(object_id: object) -> list[AdminAudit]:
    return list(AdminAudit.objects.filter(object_id=str(object_id)).order_by("id"))


def principal_of(secret: str) -> key_selectors.KeyPrincipal:
    principal = key_selectors.key_principal(split_key(secret) or "")
    assert principal is not None
    return principal


@pytest.mark.criterion("6.1")
def test_a_secret_is_stored_only_as_a_hash(cast: Cast) -> None:
    key, secret = key_services.key_create(tenant=cast.acme, name="ci", actor="user:owner")
    body = secret.removeprefix(f"sk-cy-{key.prefix}-")
    with connection.cursor() as cursor:
        cursor.execute("SELECT row_to_json(k)::text FROM tenants_apikey k")
        rows = [row[0] for row in cursor.fetchall()]
        cursor.execute("SELECT row_to_json(a)::text FROM tenants_adminaudit a")
        rows += [row[0] for row in cursor.fetchall()]
    assert any(key.prefix in row for row in rows)
    assert not any(body in row for row in rows)
    assert key_matches(secret, principal_of(secret).secret_hash)


def test_a_change_is_audited_with_its_differences(cast: Cast) -> None:
    key, _ = key_services.key_create(tenant=cast.acme, name="ci", actor="user:owner")
    key_services.key_update(key_id=key.id, actor="user:member", name="build", scopes=[Scope.INFERENCE])
    creation, update = audit_rows(key.id)
    assert (creation.action, creation.actor, creation.before) == ("key.create", "user:owner", None)
    assert (update.action, update.actor, update.tenant_id) == ("key.update", "user:member", cast.acme.id)
    assert update.before == {"name": "ci", "scopes": ["files", "fine_tuning", "inference", "models.read"]}
    assert update.after == {"name": "build", "scopes": ["inference"]}


def test_a_recorded_list_of_objects_is_shown_as_json() -> None:
    change = AdminAudit(action="key.update", before={"rules": [{"a": 1}, [2]]}, after={"rules": ["x"]})
    with translation.override("en"):
        assert change_differences(change) == (Difference("rules", '{"a": 1}, [2]', "x"),)


def test_recorded_scopes_are_listed_in_the_current_language() -> None:
    change = AdminAudit(action="key.create", before=None, after={"scopes": ["files", "inference"]})
    with translation.override("zh-hans"):
        (difference,) = change_differences(change)
    assert difference.after == "管理文件、调用模型"


def test_a_failed_change_is_not_audited(cast: Cast) -> None:
    before = AdminAudit.objects.count()
    with pytest.raises(ValidationError), transaction.atomic():
        services.tenant_update(tenant_id=cast.acme.id, actor="user:owner", name="Acme Ltd", slug="Not a slug")
    assert AdminAudit.objects.count() == before
    assert Tenant.objects.get(id=cast.acme.id).name == "Acme"


def test_the_administrative_audit_trail_is_append_only(cast: Cast) -> None:
    for statement in ("UPDATE tenants_adminaudit SET actor = 'x'", "DELETE FROM tenants_adminaudit"):
        with (
            pytest.raises(DatabaseError, match="append-only"),
            transaction.atomic(),
            connection.cursor() as cursor,
        ):
            cursor.execute(statement)
    assert AdminAudit.objects.filter(actor="tests").exists()


def test_a_change_without_differences_is_not_audited(cast: Cast) -> None:
    before = AdminAudit.objects.count()
    services.tenant_update(tenant_id=cast.acme.id, actor="user:owner", name="Acme")
    member_services.membership_set(tenant=cast.acme, user=cast.member, role="member", actor="user:owner")
    assert AdminAudit.objects.count() == before


@pytest.mark.parametrize("slug", ["", "Acme", "-acme", "acme-", "ac me", "acme\n", "a" * 64, "acmé"])
def test_a_bad_short_name_is_rejected(cast: Cast, slug: str) -> None:
    with pytest.raises(ValidationError) as error:
        services.tenant_create(slug=slug, name="x", actor="tests")
    assert "slug" in error.value.message_dict


def test_unknown_roles_and_scopes_are_rejected(cast: Cast) -> None:
    with pytest.raises(
        ValidationError, match=r"king is not a role\. Choose one of owner, admin, member, viewer"
    ):
        member_services.membership_set(tenant=cast.acme, user=cast.member, role="king", actor="tests")
    with pytest.raises(ValidationError, match="everything"):
        key_services.key_create(tenant=cast.acme, name="x", scopes=["everything"], actor="tests")
    with pytest.raises(ValidationError, match="at least one scope"):
        key_services.key_create(tenant=cast.acme, name="x", scopes=[], actor="tests")


def test_database_constraints_reject_unknown_values(cast: Cast) -> None:
    key = ApiKey.objects.filter(tenant=cast.acme).get()
    invalid_updates: list[Callable[[], int]] = [
        lambda: Membership.objects.filter(user=cast.owner).update(role="king"),
        lambda: ApiKey.objects.filter(id=key.id).update(scopes=["everything"]),
        lambda: ApiKey.objects.filter(id=key.id).update(prefix="short"),
    ]
    for update in invalid_updates:
        with pytest.raises(DatabaseError, match="check constraint"), transaction.atomic():
            update()


def test_a_member_can_be_removed(cast: Cast) -> None:
    member_services.membership_remove(tenant=cast.acme, user=cast.member, actor="user:owner")
    assert [m.user for m in member_selectors.memberships(tenant=cast.acme)] == [cast.owner]
    assert AdminAudit.objects.latest("id").before == {"role": "member"}


@pytest.mark.criterion("6.1")
@pytest.mark.case("serving.18")
def test_both_keys_are_valid_during_the_grace_period_of_a_rotation(cast: Cast) -> None:
    old = ApiKey.objects.get(tenant=cast.acme)
    before = timezone.now()
    new, secret = key_services.key_rotate(key_id=old.id, grace_s=600, actor="user:owner")
    after = timezone.now()
    old_now, new_now = principal_of(cast.acme_key), principal_of(secret)
    assert old_now.expires_at is not None
    assert before <= old_now.expires_at - dt.timedelta(seconds=600) <= after
    assert (new_now.expires_at, new_now.revoked_at, new_now.scopes) == (None, None, old_now.scopes)
    old.refresh_from_db()
    assert key_selectors.key_state(old, after + dt.timedelta(seconds=599)) == "valid"
    assert key_selectors.key_state(old, after + dt.timedelta(seconds=601)) == "expired"
    assert [row.action for row in audit_rows(old.id)] == ["key.create", "key.rotate"]
    assert new.replaces == old


def test_a_rotation_never_extends_a_key_and_passes_its_expiry_on(cast: Cast) -> None:
    soon = timezone.now() + dt.timedelta(seconds=60)
    key, _ = key_services.key_create(tenant=cast.acme, name="short", expires_at=soon, actor="tests")
    new, _ = key_services.key_rotate(key_id=key.id, grace_s=3600, actor="tests")
    key.refresh_from_db()
    assert (key.expires_at, new.expires_at) == (soon, soon)


def test_a_key_can_be_rotated_once_and_only_while_valid(cast: Cast) -> None:
    key, _ = key_services.key_create(tenant=cast.acme, name="k", actor="tests")
    new, _ = key_services.key_rotate(key_id=key.id, grace_s=60, actor="tests")
    with pytest.raises(ValidationError, match=f"Its successor is {new.prefix}"):
        key_services.key_rotate(key_id=key.id, grace_s=60, actor="tests")
    key_services.key_revoke(key_id=new.id, actor="tests")
    with pytest.raises(ValidationError, match="revoked"):
        key_services.key_rotate(key_id=new.id, grace_s=60, actor="tests")
    past = timezone.now() - dt.timedelta(seconds=1)
    expired_key, _ = key_services.key_create(tenant=cast.acme, name="e", expires_at=past, actor="tests")
    with pytest.raises(ValidationError, match="expired"):
        key_services.key_rotate(key_id=expired_key.id, grace_s=60, actor="tests")


@pytest.mark.parametrize("grace_s", [-1, float("nan"), key_services.MAX_GRACE_S + 1])
def test_an_invalid_grace_period_is_rejected(cast: Cast, grace_s: float) -> None:
    key = ApiKey.objects.get(tenant=cast.acme)
    with pytest.raises(ValidationError, match="grace period"):
        key_services.key_rotate(key_id=key.id, grace_s=grace_s, actor="tests")


def test_a_revoked_key_cannot_change(cast: Cast) -> None:
    key = ApiKey.objects.get(tenant=cast.acme)
    revoked_at = key_services.key_revoke(key_id=key.id, actor="tests").revoked_at
    assert key_services.key_revoke(key_id=key.id, actor="tests").revoked_at == revoked_at
    with pytest.raises(ValidationError, match="revoked"):
        key_services.key_update(key_id=key.id, actor="tests", name="again")
    assert principal_of(cast.acme_key).revoked_at == revoked_at


def test_a_principal_says_whether_its_tenant_is_active(cast: Cast) -> None:
    assert principal_of(cast.acme_key).tenant_active
    services.tenant_update(tenant_id=cast.acme.id, actor="tests", active=False)
    assert not principal_of(cast.acme_key).tenant_active


def test_reading_a_principal_takes_one_query(
    cast: Cast, django_assert_num_queries: Callable[[int], AbstractContextManager[object]]
) -> None:
    prefix = split_key(cast.acme_key) or ""
    with django_assert_num_queries(1):
        principal = key_selectors.key_principal(prefix)
    assert principal is not None
    assert (principal.tenant_id, principal.tenant_slug) == (cast.acme.id, "acme")
    assert principal.secret_hash not in repr(principal)
    assert key_selectors.key_principal("0" * 12) is None


@pytest.mark.criterion("6.1")
@pytest.mark.django_db(transaction=True)
def test_changes_are_published_only_after_the_commit(changes: redis.client.PubSub) -> None:
    tenant = services.tenant_create(slug="acme", name="Acme", actor="tests")
    key, _ = key_services.key_create(tenant=tenant, name="k", actor="tests")
    assert received_changes(changes) == [f"key {key.prefix}"]
    with transaction.atomic():
        key_services.key_revoke(key_id=key.id, actor="tests")
        assert received_changes(changes) == []
    assert received_changes(changes) == [f"key {key.prefix}"]
    services.tenant_update(tenant_id=tenant.id, actor="tests", active=False)
    assert received_changes(changes) == [f"tenant {tenant.id}"]
    with transaction.atomic():
        services.tenant_update(tenant_id=tenant.id, actor="tests", active=True)
        transaction.set_rollback(True)
    assert received_changes(changes) == []


@pytest.mark.django_db(transaction=True)
def test_a_change_succeeds_while_redis_is_unavailable(
    settings: object, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from django.conf import settings as django_settings

    offline_settings = django_settings.CYLLM.model_copy(update={"redis_url": "redis://127.0.0.1:1/0"})
    monkeypatch.setattr(django_settings, "CYLLM", offline_settings)
    with caplog.at_level(logging.WARNING, logger="cyllm.changes"):
        tenant = services.tenant_create(slug="acme", name="Acme", actor="tests")
        key, secret = key_services.key_create(tenant=tenant, name="k", actor="tests")
    assert ApiKey.objects.get().id == key.id
    assert "change not published" in caplog.text
    assert secret not in caplog.text


def _in_threads(*calls: Callable[[], object]) -> list[object]:
    """Return the results or exceptions of concurrent calls, each on its own connection."""
    results: list[object] = [None] * len(calls)
    barrier = threading.Barrier(len(calls))

    def run(index: int, call: Callable[[], object]) -> None:
        barrier.wait()
        try:
            results[index] = call()
        except ValidationError as error:
            results[index] = error
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=(i, call)) for i, call in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


@pytest.mark.django_db(transaction=True)
def test_of_concurrent_rotations_one_succeeds(redis_client: redis.Redis) -> None:
    tenant = services.tenant_create(slug="acme", name="Acme", actor="tests")
    key, _ = key_services.key_create(tenant=tenant, name="k", actor="tests")
    results = _in_threads(*[lambda: key_services.key_rotate(key_id=key.id, grace_s=60, actor="t")] * 4)
    assert sum(isinstance(result, tuple) for result in results) == 1
    assert sum(isinstance(result, ValidationError) for result in results) == 3
    assert ApiKey.objects.count() == 2


@pytest.mark.django_db(transaction=True)
def test_concurrent_changes_of_a_key_are_all_audited(redis_client: redis.Redis) -> None:
    tenant = services.tenant_create(slug="acme", name="Acme", actor="tests")
    key, _ = key_services.key_create(tenant=tenant, name="k", actor="tests")
    _in_threads(
        lambda: key_services.key_update(key_id=key.id, actor="a", name="one"),
        lambda: key_services.key_update(key_id=key.id, actor="b", scopes=[Scope.INFERENCE]),
        lambda: key_services.key_update(key_id=key.id, actor="c", expires_at=timezone.now()),
        lambda: key_services.key_revoke(key_id=key.id, actor="d"),
    )
    rows = audit_rows(key.id)
    key.refresh_from_db()
    assert key.revoked_at is not None
    # In any order, each row starts from the values that the previous row ended with.
    state: dict[str, object] = dict(rows[0].after or {})
    for row in rows[1:]:
        assert {name: state[name] for name in row.before or {}} == row.before
        state |= row.after or {}
    assert (state["name"], state["scopes"]) == (key.name, key.scopes)


@pytest.mark.django_db(transaction=True)
def test_concurrent_calls_create_one_membership(redis_client: redis.Redis) -> None:
    from django.contrib.auth.models import User

    tenant = services.tenant_create(slug="acme", name="Acme", actor="tests")
    user = User.objects.create_user("owner")
    _in_threads(
        lambda: member_services.membership_set(tenant=tenant, user=user, role="member", actor="a"),
        lambda: member_services.membership_set(tenant=tenant, user=user, role="viewer", actor="b"),
    )
    assert Membership.objects.count() == 1
    assert AdminAudit.objects.filter(action="membership.set").count() == 2


@pytest.mark.django_db(transaction=True)
def test_no_key_outlives_a_membership_that_ends_at_the_same_time(redis_client: redis.Redis) -> None:
    from django.contrib.auth.models import User

    tenant = services.tenant_create(slug="acme", name="Acme", actor="tests")
    user = User.objects.create_user("member")
    for _ in range(5):
        member_services.membership_set(tenant=tenant, user=user, role="member", actor="tests")
        key = key_services.key_create(tenant=tenant, name="k", actor="tests", user=user)[0]
        _in_threads(
            partial(key_services.key_rotate, key_id=key.id, grace_s=60, actor="a"),
            lambda: key_services.key_create(tenant=tenant, name="new", actor="b", user=user),
            lambda: member_services.membership_remove(tenant=tenant, user=user, actor="c"),
        )
        assert not ApiKey.objects.filter(user=user, revoked_at=None).exists()


@pytest.mark.django_db(transaction=True)
def test_of_two_owners_who_leave_at_the_same_time_one_stays(redis_client: redis.Redis) -> None:
    from django.contrib.auth.models import User

    from tenants.models import Membership

    tenant = services.tenant_create(slug="acme", name="Acme", actor="tests")
    owners = [User.objects.create_user(name) for name in ("one", "two")]
    for owner in owners:
        member_services.membership_set(tenant=tenant, user=owner, role="owner", actor="tests")
    results = _in_threads(
        lambda: member_services.membership_remove(tenant=tenant, user=owners[0], actor="a"),
        lambda: member_services.membership_set(tenant=tenant, user=owners[1], role="member", actor="b"),
    )
    assert sum(isinstance(result, ValidationError) for result in results) == 1
    assert Membership.objects.filter(tenant=tenant, role="owner").count() == 1
