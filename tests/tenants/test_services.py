"""ChangeListener of tenants, members and keys: what is stored, audited and pushed."""

from __future__ import annotations

import datetime as dt
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import pytest
import redis
from django.core.exceptions import ValidationError
from django.db import DatabaseError, connection, transaction
from django.utils import timezone

from inference_worker.protocol import names
from tenants import selectors, services
from tenants.choices import Scope
from tenants.keys import key_matches, split_key
from tenants.models import AdminAudit, ApiKey, Membership, Tenant

if TYPE_CHECKING:
    from tests.people import Cast


@pytest.fixture
def changes(redis_client: Any) -> Iterator[redis.client.PubSub]:
    """What gateways hear."""
    with redis_client.pubsub(ignore_subscribe_messages=True) as listener:
        listener.subscribe(names.CHANGES_CHANNEL)
        listener.get_message(timeout=2)
        yield listener


def heard(listener: redis.client.PubSub) -> list[str]:
    found = []
    while message := listener.get_message(timeout=0.3):
        found.append(message["data"].decode())
    return found


def trail(object_id: object) -> list[AdminAudit]:
    return list(AdminAudit.objects.filter(object_id=str(object_id)).order_by("id"))


def principal_of(secret: str) -> selectors.KeyPrincipal:
    found = selectors.key_principal(split_key(secret) or "")
    assert found is not None
    return found


@pytest.mark.criterion("6.1")
def test_a_secret_is_stored_as_a_hash_only(cast: Cast) -> None:
    key, secret = services.key_create(tenant=cast.acme, name="ci", actor="user:owner")
    body = secret.removeprefix(f"sk-cy-{key.prefix}-")
    with connection.cursor() as cursor:
        cursor.execute("SELECT row_to_json(k)::text FROM tenants_apikey k")
        stored = [row[0] for row in cursor.fetchall()]
        cursor.execute("SELECT row_to_json(a)::text FROM tenants_adminaudit a")
        stored += [row[0] for row in cursor.fetchall()]
    assert any(key.prefix in row for row in stored)
    assert not any(body in row for row in stored)
    assert key_matches(secret, principal_of(secret).secret_hash)


def test_a_change_is_audited_with_what_differs(cast: Cast) -> None:
    key, _ = services.key_create(tenant=cast.acme, name="ci", actor="user:owner")
    services.key_update(key_id=key.id, actor="user:member", name="build", scopes=[Scope.INFERENCE])
    created, updated = trail(key.id)
    assert (created.action, created.actor, created.before) == ("key.create", "user:owner", None)
    assert (updated.action, updated.actor, updated.tenant_id) == ("key.update", "user:member", cast.acme.id)
    assert updated.before == {"name": "ci", "scopes": ["inference", "models.read"]}
    assert updated.after == {"name": "build", "scopes": ["inference"]}


def test_a_change_that_fails_leaves_no_trace(cast: Cast) -> None:
    before = AdminAudit.objects.count()
    with pytest.raises(ValidationError), transaction.atomic():
        services.tenant_update(tenant_id=cast.acme.id, actor="user:owner", name="Acme Ltd", slug="Not a slug")
    assert AdminAudit.objects.count() == before
    assert Tenant.objects.get(id=cast.acme.id).name == "Acme"


def test_the_administrative_trail_can_not_be_edited(cast: Cast) -> None:
    for statement in ("UPDATE tenants_adminaudit SET actor = 'x'", "DELETE FROM tenants_adminaudit"):
        with (
            pytest.raises(DatabaseError, match="append-only"),
            transaction.atomic(),
            connection.cursor() as cursor,
        ):
            cursor.execute(statement)
    assert AdminAudit.objects.filter(actor="tests").exists()


def test_nothing_is_recorded_where_nothing_changes(cast: Cast) -> None:
    before = AdminAudit.objects.count()
    services.tenant_update(tenant_id=cast.acme.id, actor="user:owner", name="Acme")
    services.membership_set(tenant=cast.acme, user=cast.member, role="member", actor="user:owner")
    assert AdminAudit.objects.count() == before


@pytest.mark.parametrize("slug", ["", "Acme", "-acme", "acme-", "ac me", "acme\n", "a" * 64, "acmé"])
def test_a_bad_short_name_is_refused_by_name(cast: Cast, slug: str) -> None:
    with pytest.raises(ValidationError) as refused:
        services.tenant_create(slug=slug, name="x", actor="tests")
    assert "slug" in refused.value.message_dict


def test_roles_and_scopes_outside_the_list_are_refused(cast: Cast) -> None:
    with pytest.raises(ValidationError, match="king is no role; roles are owner, admin, member, viewer"):
        services.membership_set(tenant=cast.acme, user=cast.member, role="king", actor="tests")
    with pytest.raises(ValidationError, match="everything"):
        services.key_create(tenant=cast.acme, name="x", scopes=["everything"], actor="tests")
    with pytest.raises(ValidationError, match="at least one scope"):
        services.key_create(tenant=cast.acme, name="x", scopes=[], actor="tests")


def test_the_database_itself_refuses_unknown_states(cast: Cast) -> None:
    key = ApiKey.objects.filter(tenant=cast.acme).get()
    wrongs: list[Callable[[], int]] = [
        lambda: Membership.objects.filter(user=cast.owner).update(role="king"),
        lambda: ApiKey.objects.filter(id=key.id).update(scopes=["everything"]),
        lambda: ApiKey.objects.filter(id=key.id).update(prefix="short"),
    ]
    for wrong in wrongs:
        with pytest.raises(DatabaseError, match="check constraint"), transaction.atomic():
            wrong()


def test_a_member_can_be_removed(cast: Cast) -> None:
    services.membership_remove(tenant=cast.acme, user=cast.member, actor="user:owner")
    assert [m.user for m in selectors.memberships(tenant=cast.acme)] == [cast.owner]
    assert AdminAudit.objects.latest("id").before == {"role": "member"}


@pytest.mark.criterion("6.1")
@pytest.mark.case("serving.18")
def test_both_keys_are_valid_during_the_grace_time_of_a_rotation(cast: Cast) -> None:
    old = ApiKey.objects.get(tenant=cast.acme)
    before = timezone.now()
    new, secret = services.key_rotate(key_id=old.id, grace_s=600, actor="user:owner")
    after = timezone.now()
    old_now, new_now = principal_of(cast.acme_key), principal_of(secret)
    assert old_now.expires_at is not None
    assert before <= old_now.expires_at - dt.timedelta(seconds=600) <= after
    assert (new_now.expires_at, new_now.revoked_at, new_now.scopes) == (None, None, old_now.scopes)
    old.refresh_from_db()
    assert selectors.key_state(old, after + dt.timedelta(seconds=599)) == "valid"
    assert selectors.key_state(old, after + dt.timedelta(seconds=601)) == "expired"
    assert [row.action for row in trail(old.id)] == ["key.create", "key.rotate"]
    assert new.replaces == old


def test_a_rotation_never_lengthens_a_key_and_hands_its_expiry_on(cast: Cast) -> None:
    soon = timezone.now() + dt.timedelta(seconds=60)
    key, _ = services.key_create(tenant=cast.acme, name="short", expires_at=soon, actor="tests")
    new, _ = services.key_rotate(key_id=key.id, grace_s=3600, actor="tests")
    key.refresh_from_db()
    assert (key.expires_at, new.expires_at) == (soon, soon)


def test_a_key_is_rotated_once_and_not_after_its_end(cast: Cast) -> None:
    key, _ = services.key_create(tenant=cast.acme, name="k", actor="tests")
    new, _ = services.key_rotate(key_id=key.id, grace_s=60, actor="tests")
    with pytest.raises(ValidationError, match=f"its successor is {new.prefix}"):
        services.key_rotate(key_id=key.id, grace_s=60, actor="tests")
    services.key_revoke(key_id=new.id, actor="tests")
    with pytest.raises(ValidationError, match="revoked"):
        services.key_rotate(key_id=new.id, grace_s=60, actor="tests")
    past = timezone.now() - dt.timedelta(seconds=1)
    expired, _ = services.key_create(tenant=cast.acme, name="e", expires_at=past, actor="tests")
    with pytest.raises(ValidationError, match="expired"):
        services.key_rotate(key_id=expired.id, grace_s=60, actor="tests")


@pytest.mark.parametrize("grace_s", [-1, float("nan"), services.MAX_GRACE_S + 1])
def test_an_impossible_grace_time_is_refused(cast: Cast, grace_s: float) -> None:
    key = ApiKey.objects.get(tenant=cast.acme)
    with pytest.raises(ValidationError, match="grace time"):
        services.key_rotate(key_id=key.id, grace_s=grace_s, actor="tests")


def test_a_revoked_key_stays_as_it_was_revoked(cast: Cast) -> None:
    key = ApiKey.objects.get(tenant=cast.acme)
    first = services.key_revoke(key_id=key.id, actor="tests").revoked_at
    assert services.key_revoke(key_id=key.id, actor="tests").revoked_at == first
    with pytest.raises(ValidationError, match="revoked"):
        services.key_update(key_id=key.id, actor="tests", name="again")
    assert principal_of(cast.acme_key).revoked_at == first


def test_an_inactive_tenant_shows_in_its_keys_principals(cast: Cast) -> None:
    assert principal_of(cast.acme_key).tenant_active
    services.tenant_update(tenant_id=cast.acme.id, actor="tests", active=False)
    assert not principal_of(cast.acme_key).tenant_active


def test_a_principal_is_one_query(
    cast: Cast, django_assert_num_queries: Callable[[int], AbstractContextManager[object]]
) -> None:
    prefix = split_key(cast.acme_key) or ""
    with django_assert_num_queries(1):
        found = selectors.key_principal(prefix)
    assert found is not None
    assert (found.tenant_id, found.tenant_slug) == (cast.acme.id, "acme")
    assert found.secret_hash not in repr(found)
    assert selectors.key_principal("0" * 12) is None


@pytest.mark.criterion("6.1")
@pytest.mark.django_db(transaction=True)
def test_changes_are_pushed_after_the_commit_and_only_then(changes: redis.client.PubSub) -> None:
    tenant = services.tenant_create(slug="acme", name="Acme", actor="tests")
    key, _ = services.key_create(tenant=tenant, name="k", actor="tests")
    assert heard(changes) == [f"key {key.prefix}"]
    with transaction.atomic():
        services.key_revoke(key_id=key.id, actor="tests")
        assert heard(changes) == []
    assert heard(changes) == [f"key {key.prefix}"]
    services.tenant_update(tenant_id=tenant.id, actor="tests", active=False)
    assert heard(changes) == [f"tenant {tenant.id}"]
    with transaction.atomic():
        services.tenant_update(tenant_id=tenant.id, actor="tests", active=True)
        transaction.set_rollback(True)
    assert heard(changes) == []


@pytest.mark.django_db(transaction=True)
def test_a_write_succeeds_while_redis_is_away(
    settings: object, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from django.conf import settings as django_settings

    away = django_settings.CYLLM.model_copy(update={"redis_url": "redis://127.0.0.1:1/0"})
    monkeypatch.setattr(django_settings, "CYLLM", away)
    with caplog.at_level(logging.WARNING, logger="cyllm.changes"):
        tenant = services.tenant_create(slug="acme", name="Acme", actor="tests")
        key, secret = services.key_create(tenant=tenant, name="k", actor="tests")
    assert ApiKey.objects.get().id == key.id
    assert "change not published" in caplog.text
    assert secret not in caplog.text


def _in_threads(*calls: Callable[[], object]) -> list[object]:
    """The results or exceptions of calls that start together, each on its own connection."""
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
def test_of_two_rotations_at_once_one_wins(redis_client: redis.Redis) -> None:
    tenant = services.tenant_create(slug="acme", name="Acme", actor="tests")
    key, _ = services.key_create(tenant=tenant, name="k", actor="tests")
    results = _in_threads(*[lambda: services.key_rotate(key_id=key.id, grace_s=60, actor="t")] * 4)
    assert sum(isinstance(result, tuple) for result in results) == 1
    assert sum(isinstance(result, ValidationError) for result in results) == 3
    assert ApiKey.objects.count() == 2


@pytest.mark.django_db(transaction=True)
def test_concurrent_changes_of_a_key_are_all_counted(redis_client: redis.Redis) -> None:
    tenant = services.tenant_create(slug="acme", name="Acme", actor="tests")
    key, _ = services.key_create(tenant=tenant, name="k", actor="tests")
    _in_threads(
        lambda: services.key_update(key_id=key.id, actor="a", name="one"),
        lambda: services.key_update(key_id=key.id, actor="b", scopes=[Scope.INFERENCE]),
        lambda: services.key_update(key_id=key.id, actor="c", expires_at=timezone.now()),
        lambda: services.key_revoke(key_id=key.id, actor="d"),
    )
    rows = trail(key.id)
    key.refresh_from_db()
    assert key.revoked_at is not None
    # Whatever order they came in, each row starts where the one before ended.
    state: dict[str, object] = dict(rows[0].after or {})
    for row in rows[1:]:
        assert {name: state[name] for name in row.before or {}} == row.before
        state |= row.after or {}
    assert (state["name"], state["scopes"]) == (key.name, key.scopes)


@pytest.mark.django_db(transaction=True)
def test_two_first_memberships_at_once_are_one(redis_client: redis.Redis) -> None:
    from django.contrib.auth.models import User

    tenant = services.tenant_create(slug="acme", name="Acme", actor="tests")
    user = User.objects.create_user("owner")
    _in_threads(
        lambda: services.membership_set(tenant=tenant, user=user, role="owner", actor="a"),
        lambda: services.membership_set(tenant=tenant, user=user, role="viewer", actor="b"),
    )
    assert Membership.objects.count() == 1
    assert AdminAudit.objects.filter(action="membership.set").count() == 2
