"""Stored responses are deleted when they expire, and fail when their gateway dies."""

from __future__ import annotations

import datetime as dt
import json
import time

import pytest
import redis
from django.db import IntegrityError, transaction
from django.utils import timezone

from api.stored_responses import tasks
from api.stored_responses.models import StoredResponse
from api.stored_responses.services import NewResponse, response_create, response_update, responses_expire
from inference_worker.protocol import names
from tenants.ledger import liveness
from tenants.models import AdminAudit
from tests.commands import run, run_json
from tests.people import Cast

pytestmark = pytest.mark.django_db


def store_response(cast: Cast, name: str, *, status: str = "completed", **changes: object) -> StoredResponse:
    now = timezone.now()
    fields: dict[str, object] = {
        "id": f"resp_{name}",
        "tenant_id": str(cast.acme.id),
        "model": "tiny",
        "body": {"id": f"resp_{name}", "status": status, "error": None, "output": []},
        "input_items": [],
        "previous_response_id": None,
        "background": True,
        "gateway_id": "gw-1",
        "created_at": now,
        "expires_at": now + dt.timedelta(days=1),
    }
    response_create(NewResponse(**{**fields, **changes}))  # type: ignore[arg-type]  # checked by the tests below
    return StoredResponse.objects.get(id=f"resp_{name}")


@pytest.mark.case("serving.38")
def test_expired_responses_are_purged_in_batches(cast: Cast) -> None:
    now = timezone.now()
    for number in range(5):
        store_response(cast, f"old{number}", expires_at=now - dt.timedelta(seconds=number))
    store_response(cast, "new")
    assert responses_expire(now=now, batch=2) == 5
    assert list(StoredResponse.objects.values_list("id", flat=True)) == ["resp_new"]
    assert tasks.responses_purge_task() == 0


def test_the_command_deletes_ended_responses_of_a_tenant_and_is_audited(cast: Cast) -> None:
    days = dt.timedelta(days=1)
    old, before = timezone.now() - 3 * days, f"{timezone.now() - 2 * days:%Y-%m-%dT%H:%M}"
    store_response(cast, "old", created_at=old)
    store_response(cast, "running", created_at=old, status="in_progress")
    store_response(cast, "other", created_at=old, tenant_id=str(cast.globex.id))
    store_response(cast, "new")
    bounds = ("responses", "purge", "--before", before, "--tenant", "acme")
    assert "stored responses: 1. Nothing is deleted without --yes." in run(*bounds)
    assert run_json(*bounds, "--yes")["stored_responses"] == 1
    kept_ids = {"resp_running", "resp_other", "resp_new"}
    assert set(StoredResponse.objects.values_list("id", flat=True)) == kept_ids
    purge = AdminAudit.objects.get(action="response.purge")
    assert (purge.tenant_id, purge.before) == (cast.acme.id, {"responses": 1})
    assert run_json("responses", "purge", "--before", before, "--yes")["stored_responses"] == 1


def test_the_database_rejects_an_unknown_status(cast: Cast) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        store_response(cast, "odd", status="done")


def test_storing_a_response_again_changes_nothing(cast: Cast) -> None:
    store_response(cast, "a", model="first")
    assert store_response(cast, "a", model="second").model == "first"
    assert StoredResponse.objects.count() == 1


def test_an_ended_response_cannot_change(cast: Cast) -> None:
    store_response(cast, "a", status="in_progress")
    body = {"status": "completed", "output": [{"id": "msg_1"}]}
    assert response_update("resp_a", body)
    assert not response_update("resp_a", {"status": "failed", "output": []})
    row = StoredResponse.objects.get()
    assert json.loads(row.body) == body
    assert row.item_ids == ["msg_1"]


def test_responses_of_a_dead_gateway_fail_and_those_of_a_live_one_continue(
    cast: Cast, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(names, "GATEWAY_DEAD_AFTER_S", 0.2)
    store_response(cast, "dead", status="in_progress", gateway_id="gw-dead")
    store_response(cast, "alive", status="queued", gateway_id="gw-alive")
    store_response(cast, "ended", gateway_id="gw-dead")
    redis_client.set(names.gateway_key("gw-alive"), "1")
    assert tasks.responses_sweep_task() == 0, "one check is not enough"
    time.sleep(0.25)
    assert tasks.responses_sweep_task() == 1
    states = dict(StoredResponse.objects.values_list("id", "status"))
    assert states == {"resp_dead": "failed", "resp_alive": "queued", "resp_ended": "completed"}
    body = json.loads(StoredResponse.objects.get(id="resp_dead").body)
    assert (body["status"], body["error"]["code"]) == ("failed", "server_error")


def test_a_response_older_than_any_request_fails_even_if_its_gateway_is_alive(
    cast: Cast, redis_client: redis.Redis
) -> None:
    store_response(cast, "stuck", status="in_progress", created_at=timezone.now() - dt.timedelta(hours=2))
    store_response(cast, "young", status="in_progress")
    redis_client.set(names.gateway_key("gw-1"), "1")
    assert tasks.responses_sweep_task() == 1
    assert StoredResponse.objects.get(id="resp_stuck").status == "failed"


def test_the_sweeps_of_usage_and_stored_responses_are_independent(
    cast: Cast, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(names, "GATEWAY_DEAD_AFTER_S", 0.2)
    store_response(cast, "dead", status="in_progress", gateway_id="gw-dead")
    tasks.responses_sweep_task()
    liveness.dead_gateways(redis_client, {"gw-of-usage"})
    time.sleep(0.25)
    assert tasks.responses_sweep_task() == 1
