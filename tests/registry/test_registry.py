"""The model registry: one namespace, audited and published changes, one query for the catalogue."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest
import redis
from django.core.exceptions import ValidationError
from django.db import DatabaseError, connection, transaction
from django.test import override_settings

from inference_worker.protocol import names
from inference_worker.protocol.prices import MAX_PRICE
from inference_worker.registry import services
from inference_worker.registry.models import ModelAlias, ServedModel
from inference_worker.registry.selectors import catalogue, visible_to
from tenants.models import AdminAudit

pytestmark = pytest.mark.django_db
TENANT, OTHER = uuid.uuid4(), uuid.uuid4()


def test_the_catalogue_is_read_in_one_query(
    django_assert_num_queries: Callable[[int], AbstractContextManager[object]],
) -> None:
    model = services.model_register(name="org/base:v1", actor="t", max_model_len=2048, owned_by="acme")
    services.alias_set(name="org/base:v1", aliases=["small", "default"], actor="t")
    services.model_register(name="private", actor="t", visibility="restricted")
    services.grant_set(name="private", tenant_ids=[TENANT, OTHER], actor="t")
    services.model_register(name="off", actor="t", enabled=False)
    with django_assert_num_queries(1):
        base, private = catalogue()
    assert (base.name, base.aliases, base.max_model_len) == ("org/base:v1", ("default", "small"), 2048)
    assert (base.owned_by, base.public, base.tenant_ids) == ("acme", True, frozenset())
    assert base.created == int(model.created_at.timestamp())
    assert (private.public, private.tenant_ids) == (False, frozenset({str(TENANT), str(OTHER)}))


def test_tenants_see_public_models_and_those_with_a_grant() -> None:
    services.model_register(name="public", actor="t")
    for name, tenant in (("theirs", OTHER), ("ours", TENANT)):
        services.model_register(name=name, actor="t", visibility="restricted")
        services.grant_set(name=name, tenant_ids=[tenant], actor="t")

    def visible(tenant_ids: list[uuid.UUID] | None) -> list[str]:
        return [model.name for model in ServedModel.objects.filter(visible_to(tenant_ids)).order_by("name")]

    assert visible([TENANT]) == ["ours", "public"]
    assert visible([TENANT, OTHER]) == visible(None) == ["ours", "public", "theirs"]
    assert visible([]) == ["public"]


def test_registering_again_changes_only_what_differs() -> None:
    services.model_register(name="m", actor="t", source="/models/m")
    services.model_register(name="m", actor="t", source="/models/m")
    assert AdminAudit.objects.count() == 1
    services.model_register(name="m", actor="t", max_model_len=100)
    change = AdminAudit.objects.latest("id")
    assert (change.action, change.object_name) == ("model.update", "m")
    assert (change.before, change.after) == ({"max_model_len": None}, {"max_model_len": 100})
    assert ServedModel.objects.get().source == "/models/m"


@pytest.mark.parametrize("name", ["", "a b", "a\n", "ä", "x" * 201, "a?b", "<m>", "a\x00"])
def test_an_invalid_name_is_rejected(name: str) -> None:
    with pytest.raises(ValidationError):
        services.model_register(name=name, actor="t")
    services.model_register(name="good", actor="t")
    with pytest.raises(ValidationError):
        services.alias_set(name="good", aliases=[name], actor="t")
    assert not ModelAlias.objects.exists()


def test_names_and_aliases_share_one_namespace() -> None:
    services.model_register(name="a", actor="t")
    services.model_register(name="b", actor="t")
    services.alias_set(name="a", aliases=["first"], actor="t")
    with pytest.raises(ValidationError, match="b is the name of a model"):
        services.alias_set(name="a", aliases=["first", "b"], actor="t")
    with pytest.raises(ValidationError, match="a is the name of a model"):
        services.alias_set(name="a", aliases=["a"], actor="t")
    with pytest.raises(ValidationError, match="first is an alias of a"):
        services.alias_set(name="b", aliases=["first"], actor="t")
    with pytest.raises(ValidationError, match="first is an alias of a; remove the alias first"):
        services.model_register(name="first", actor="t")
    assert list(ModelAlias.objects.values_list("model__name", "alias")) == [("a", "first")]


def test_setting_aliases_or_grants_replaces_all_of_them() -> None:
    services.model_register(name="m", actor="t")
    services.alias_set(name="m", aliases=["x", "y"], actor="t")
    services.alias_set(name="m", aliases=["y", "z"], actor="t")
    services.grant_set(name="m", tenant_ids=[TENANT], actor="t")
    services.grant_set(name="m", tenant_ids=[OTHER], actor="t")
    (entry,) = catalogue()
    assert (entry.aliases, entry.tenant_ids) == (("y", "z"), frozenset({str(OTHER)}))
    changes = AdminAudit.objects.order_by("id").values_list("action", "before", "after")
    assert changes[2] == ("model.aliases", {"aliases": ["x", "y"]}, {"aliases": ["y", "z"]})
    assert changes[4] == ("model.grants", {"tenants": [str(TENANT)]}, {"tenants": [str(OTHER)]})


def test_the_audit_trail_has_the_last_state_of_a_removed_model() -> None:
    services.model_register(name="m", actor="t")
    services.alias_set(name="m", aliases=["x"], actor="t")
    services.model_remove(name="m", actor="user:owner")
    assert catalogue() == ()
    change = AdminAudit.objects.latest("id")
    assert (change.action, change.actor, change.after) == ("model.remove", "user:owner", None)
    assert change.before is not None
    assert change.before["aliases"] == ["x"]


@pytest.mark.parametrize(
    "changes", [{"visibility": "secret"}, {"max_model_len": 0}, {"max_model_len": -5}, {"owned_by": ""}]
)
def test_an_invalid_value_is_rejected_and_nothing_changes(changes: dict[str, object]) -> None:
    services.model_register(name="m", actor="t")
    with pytest.raises(ValidationError):
        services.model_update(name="m", actor="t", **changes)  # type: ignore[arg-type]  # wrong on purpose
    assert AdminAudit.objects.count() == 1


def test_the_database_rejects_invalid_names_and_states() -> None:
    services.model_register(name="m", actor="t")
    for values in ({"name": "a b"}, {"visibility": "secret"}):
        with pytest.raises(DatabaseError, match="check constraint"), transaction.atomic():
            ServedModel.objects.update(**values)


def test_without_an_audit_trail_every_change_fails() -> None:
    with override_settings(ADMIN_AUDIT="tenants.nowhere.record"), pytest.raises(ImportError):
        services.model_register(name="m", actor="t")
    assert not ServedModel.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_changes_are_published_on_commit(redis_client: Any) -> None:
    with redis_client.pubsub(ignore_subscribe_messages=True) as listener:
        listener.subscribe(names.CHANGES_CHANNEL)
        listener.get_message(timeout=2)
        with transaction.atomic():
            services.model_register(name="m", actor="t")
            assert listener.get_message(timeout=0.2) is None
        message = listener.get_message(timeout=2)
    assert message is not None
    assert message["data"] == b"models"


@pytest.mark.django_db(transaction=True)
def test_concurrent_claims_of_one_name_succeed_once(redis_client: redis.Redis) -> None:
    services.model_register(name="m", actor="t")
    errors: list[ValidationError] = []
    barrier = threading.Barrier(2)

    def claim(call: Callable[[], object]) -> None:
        barrier.wait()
        try:
            call()
        except ValidationError as error:
            errors.append(error)
        finally:
            connection.close()

    claims = [
        lambda: services.model_register(name="contested", actor="t"),
        lambda: services.alias_set(name="m", aliases=["contested"], actor="t"),
    ]
    threads = [threading.Thread(target=claim, args=(call,)) for call in claims]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(errors) == 1
    claim_count = ServedModel.objects.filter(name="contested").count() + ModelAlias.objects.count()
    assert claim_count == 1


@pytest.mark.parametrize("name", services.PRICES)
def test_a_price_that_no_record_can_hold_is_refused(name: str) -> None:
    highest: Any = {name: MAX_PRICE}
    higher: Any = {name: MAX_PRICE + 1}
    services.model_register(name="dear", actor="tests", **highest)
    with pytest.raises(ValidationError, match="at most"):
        services.model_update(name="dear", actor="tests", **higher)
