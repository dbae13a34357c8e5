"""The drain: from the stream to one usage record and one audit record for each request."""

from __future__ import annotations

import datetime as dt
import logging
import random
import threading
from typing import TYPE_CHECKING, Any

import pytest
import redis
from django.db import connection
from redis.backoff import NoBackoff
from redis.retry import Retry

from inference_worker.protocol import codec, names
from inference_worker.protocol.messages import Fact, Meter, Outcome
from tenants import tasks
from tenants.ledger.drain import CLAIM_IDLE_MS, DEAD_STREAM, consumer_name, ledger_drain
from tenants.models import ApiKey, AuditRecord, UsageRecord
from tests.tenants.facts import STARTED_AT, ended, metered, started, write

if TYPE_CHECKING:
    from tests.people import Cast

pytestmark = pytest.mark.django_db


def drain(client: redis.Redis, *, consumer: str = "tests", batch: int = 500) -> int:
    drained = 0
    while count := ledger_drain(client, consumer=consumer, batch=batch):
        drained += count
    return drained


def pending(client: redis.Redis) -> int:
    return int(client.xpending(names.FACTS_STREAM, names.FACTS_GROUP)["pending"])


def test_a_completed_request_has_one_usage_and_one_audit_record(
    redis_client: redis.Redis, cast: Cast
) -> None:
    key = ApiKey.objects.get(tenant=cast.acme)
    tenant_id, key_id = str(cast.acme.id), str(key.id)
    write(
        redis_client,
        started(tenant_id=tenant_id, key_id=key_id),
        metered(),
        ended(tenant_id=tenant_id, key_id=key_id),
    )
    assert drain(redis_client) == 3
    usage, audit = UsageRecord.objects.get(), AuditRecord.objects.get()
    assert (usage.tenant, usage.key, usage.correlation_id) == (cast.acme, key, "c-r1")
    assert (usage.state, usage.outcome, usage.status) == ("settled", "completed", 200)
    assert (usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens) == (11, 7, 3)
    assert usage.started_at == dt.datetime.fromtimestamp(STARTED_AT, dt.UTC)
    assert usage.ended_at == usage.started_at + dt.timedelta(seconds=1.25)
    assert (audit.request_id, audit.tenant, audit.key_prefix) == ("r1", cast.acme, "abcdefghijkl")
    assert (audit.client_ip, audit.status, audit.outcome) == ("192.0.2.7", 200, "completed")
    assert redis_client.xlen(names.FACTS_STREAM) == 0
    assert pending(redis_client) == 0


def test_a_refused_request_is_audited_and_not_charged(redis_client: redis.Redis) -> None:
    refusal = ended(
        attempt=0,
        outcome=Outcome.REFUSED,
        status=401,
        error_code="invalid_api_key",
        tenant_id=None,
        key_id=None,
        model=None,
    )
    write(redis_client, refusal)
    drain(redis_client)
    audit = AuditRecord.objects.get()
    assert (audit.status, audit.error_code, audit.tenant_id, audit.key_prefix) == (
        401,
        "invalid_api_key",
        None,
        "",
    )
    assert not UsageRecord.objects.exists()


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 1, 0], [1, 2, 0], [2, 0, 1], [0, 0, 2, 1, 2, 1]])
def test_facts_drained_one_by_one_in_any_order_make_the_same_record(
    redis_client: redis.Redis, order: list[int]
) -> None:
    facts: list[Fact] = [started(), metered(), ended()]
    for index in order:
        write(redis_client, facts[index])
        drain(redis_client)
    row = UsageRecord.objects.get()
    assert (row.state, row.outcome, row.meter_source, row.completion_tokens) == (
        "settled",
        "completed",
        "worker",
        7,
    )
    assert (str(row.tenant_id), row.gateway_id) == ("6a4bd2f0-1111-4222-8333-444455556666", "gw-1")
    assert AuditRecord.objects.count() == 1


def test_an_end_that_overtakes_its_start_is_not_forgotten(redis_client: redis.Redis) -> None:
    write(redis_client, ended(attempt=0, outcome=Outcome.FAILED, status=503, error_code="no_worker"))
    drain(redis_client)
    assert not UsageRecord.objects.exists()
    write(redis_client, started())
    drain(redis_client)
    row = UsageRecord.objects.get()
    assert (row.state, row.outcome, row.status, row.error_code) == ("settled", "failed", 503, "no_worker")


def test_a_workers_count_alone_opens_a_record(redis_client: redis.Redis) -> None:
    write(redis_client, metered())
    drain(redis_client)
    row = UsageRecord.objects.get()
    assert (row.state, row.tenant_id, row.completion_tokens) == ("open", None, 7)
    assert row.started_at.timestamp() == pytest.approx(STARTED_AT + 0.2)
    write(redis_client, started())
    drain(redis_client)
    row.refresh_from_db()
    assert row.started_at.timestamp() == STARTED_AT
    assert row.tenant_id is not None


def test_poison_is_put_aside_and_the_rest_recorded(
    redis_client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    redis_client.xadd(names.FACTS_STREAM, {names.FACTS_FIELD: b"\xc1 no fact"})
    redis_client.xadd(names.FACTS_STREAM, {b"other": b"field"})
    write(redis_client, started(tenant_id="not-a-uuid"), metered(), ended())
    with caplog.at_level(logging.ERROR, logger="cyllm.ledger"):
        assert drain(redis_client) == 5
    assert UsageRecord.objects.get().state == "settled"
    entries: Any = redis_client.xrange(DEAD_STREAM)
    dead = [fields for _, fields in entries]
    assert len(dead) == 3
    assert dead[0][names.FACTS_FIELD] == b"\xc1 no fact"
    assert b"UUID" in dead[2][b"reason"]
    assert caplog.text.count("can't be recorded") == 3
    assert redis_client.xlen(names.FACTS_STREAM) == 0


def test_what_the_database_refuses_is_put_aside_alone(
    redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tenants.ledger.drain.fact_read", codec.decode_fact)
    write(redis_client, started("r1"), metered("r1", tokens=-5), started("r2"), metered("r2"), ended("r2"))
    assert drain(redis_client) == 5
    assert UsageRecord.objects.get(request_id="r2").state == "settled"
    assert UsageRecord.objects.get(request_id="r1").completion_tokens == 0
    assert redis_client.xlen(DEAD_STREAM) == 1


def test_what_clients_put_into_names_can_be_stored(redis_client: redis.Redis) -> None:
    write(redis_client, ended(attempt=0, model="m\x00\n" + "x" * 500, correlation_id="\x00" * 300))
    drain(redis_client)
    audit = AuditRecord.objects.get()
    assert audit.model.startswith("m\N{REPLACEMENT CHARACTER}\n")
    assert (len(audit.model), len(audit.correlation_id)) == (200, 200)
    assert redis_client.xlen(DEAD_STREAM) == 0


def test_what_a_dead_consumer_left_pending_is_taken_over(
    redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    drain(redis_client)
    write(redis_client, started(), metered(), ended())
    redis_client.xreadgroup(names.FACTS_GROUP, "dead", {names.FACTS_STREAM: ">"}, count=10)
    assert drain(redis_client, consumer="alive") == 0
    assert CLAIM_IDLE_MS >= 10_000
    monkeypatch.setattr("tenants.ledger.drain.CLAIM_IDLE_MS", 0)
    assert drain(redis_client, consumer="alive") == 3
    assert UsageRecord.objects.get().state == "settled"
    assert pending(redis_client) == 0


def test_a_batch_that_was_stored_and_not_acknowledged_changes_nothing_when_read_again(
    redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    def torn(client: redis.Redis, entry_ids: object) -> None:
        raise redis.ConnectionError

    write(redis_client, started(), metered(), ended())
    with monkeypatch.context() as patch:
        patch.setattr("tenants.ledger.drain._remove", torn)
        with pytest.raises(redis.ConnectionError):
            ledger_drain(redis_client, consumer="tests")
    first = UsageRecord.objects.values().get()
    assert drain(redis_client) == 3
    assert UsageRecord.objects.values().get() == first
    assert AuditRecord.objects.count() == 1


def test_a_key_knows_to_the_minute_when_it_was_last_used(redis_client: redis.Redis, cast: Cast) -> None:
    key = ApiKey.objects.get(tenant=cast.acme)
    write(redis_client, started(tenant_id=str(cast.acme.id), key_id=str(key.id)))
    drain(redis_client)
    key.refresh_from_db()
    assert key.last_used_at == dt.datetime.fromtimestamp(STARTED_AT, dt.UTC)


@pytest.mark.django_db(transaction=True)
def test_drains_in_parallel_with_repeated_facts_record_each_request_once(redis_client: redis.Redis) -> None:
    requests = [f"r{number}" for number in range(150)]
    facts = [fact for name in requests for fact in (started(name), metered(name), ended(name))]
    repeated = facts * 2
    random.Random(7).shuffle(repeated)
    write(redis_client, *repeated)
    failures: list[BaseException] = []

    def run(consumer: str) -> None:
        try:
            drain(redis_client, consumer=consumer, batch=40)
        except BaseException as error:
            failures.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=(f"c{number}",)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    rows = list(UsageRecord.objects.order_by("id"))
    assert sorted(row.request_id for row in rows) == sorted(requests)
    assert {(row.state, row.completion_tokens, row.meter_source) for row in rows} == {
        ("settled", 7, "worker")
    }
    assert AuditRecord.objects.count() == len(requests)
    assert redis_client.xlen(names.FACTS_STREAM) == 0
    assert pending(redis_client) == 0


def test_the_task_drains_until_the_stream_is_empty(
    redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(redis_client, *[ended(f"r{number}", attempt=0) for number in range(1200)])
    assert tasks.ledger_drain_task() == 1200
    assert AuditRecord.objects.count() == 1200
    assert consumer_name().encode() in [
        consumer["name"] for consumer in redis_client.xinfo_consumers(names.FACTS_STREAM, names.FACTS_GROUP)
    ]


@pytest.mark.parametrize("task", [tasks.ledger_drain_task, tasks.ledger_sweep_task])
def test_a_tick_without_redis_is_one_line_in_the_log(
    task: object, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    gone = redis.Redis(host="127.0.0.1", port=1, retry=Retry(NoBackoff(), 0))
    monkeypatch.setattr(tasks, "ledger_client", lambda _url: gone)
    assert callable(task)
    with caplog.at_level(logging.WARNING):
        assert task() == 0
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "put off to the next tick" in caplog.text


def test_a_relayed_count_is_kept_until_the_workers_comes(redis_client: redis.Redis) -> None:
    relayed = Meter(prompt_tokens=11, completion_tokens=6, total_s=0.6)
    write(redis_client, started(), ended(relayed=relayed))
    drain(redis_client)
    row = UsageRecord.objects.get()
    assert (row.state, row.meter_source, row.completion_tokens) == ("open", "gateway", 6)
    write(redis_client, metered())
    drain(redis_client)
    row.refresh_from_db()
    assert (row.state, row.meter_source, row.completion_tokens) == ("settled", "worker", 7)
