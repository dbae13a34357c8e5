"""The drain turns facts into one usage record and one audit record per request."""

from __future__ import annotations

import datetime as dt
import logging
import random
import threading
from typing import TYPE_CHECKING, Any

import msgspec
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
from tests.tenants.facts import STARTED_AT, end_fact, meter_fact, start_fact, write_facts

if TYPE_CHECKING:
    from tests.people import Cast

pytestmark = pytest.mark.django_db


def drain(client: redis.Redis, *, consumer: str = "tests", batch: int = 500) -> int:
    total = 0
    while count := ledger_drain(client, consumer=consumer, batch=batch):
        total += count
    return total


def pending_count(client: redis.Redis) -> int:
    return int(client.xpending(names.FACTS_STREAM, names.FACTS_GROUP)["pending"])


def test_a_completed_request_has_one_usage_and_one_audit_record(
    redis_client: redis.Redis, cast: Cast
) -> None:
    key = ApiKey.objects.get(tenant=cast.acme)
    tenant_id, key_id = str(cast.acme.id), str(key.id)
    write_facts(
        redis_client,
        start_fact(tenant_id=tenant_id, key_id=key_id),
        meter_fact(),
        end_fact(tenant_id=tenant_id, key_id=key_id),
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
    assert pending_count(redis_client) == 0


@pytest.mark.case("robustness.7")
@pytest.mark.parametrize("is_end_first", [False, True])
def test_work_that_reached_nobody_is_not_charged(redis_client: redis.Redis, is_end_first: bool) -> None:
    end = end_fact(outcome=Outcome.LOST, status=503, error_code="worker_lost")
    facts = [meter_fact(), msgspec.structs.replace(end, is_charged=False)]
    for fact in [start_fact(), *(reversed(facts) if is_end_first else facts)]:
        write_facts(redis_client, fact)
        drain(redis_client)
    usage = UsageRecord.objects.get()
    assert (usage.state, usage.is_charged, usage.wasted_tokens) == ("settled", False, 18)
    assert (usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens) == (0, 0, 0)


@pytest.mark.case("robustness.7")
def test_an_attempt_that_was_repeated_is_wasted(redis_client: redis.Redis) -> None:
    write_facts(
        redis_client,
        start_fact(),
        meter_fact(attempt=1, tokens=4, outcome=Outcome.LOST),
        meter_fact(attempt=2),
        end_fact(attempt=2),
    )
    drain(redis_client)
    usage = UsageRecord.objects.get()
    assert (usage.is_charged, usage.completion_tokens, usage.wasted_tokens) == (True, 7, 15)


def test_a_refused_request_is_audited_and_not_charged(redis_client: redis.Redis) -> None:
    refusal = end_fact(
        attempt=0,
        outcome=Outcome.REFUSED,
        status=401,
        error_code="invalid_api_key",
        tenant_id=None,
        key_id=None,
        model=None,
    )
    write_facts(redis_client, refusal)
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
def test_facts_drained_one_by_one_produce_the_same_record_in_any_order(
    redis_client: redis.Redis, order: list[int]
) -> None:
    facts: list[Fact] = [start_fact(), meter_fact(), end_fact()]
    for index in order:
        write_facts(redis_client, facts[index])
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


def test_an_end_that_overtakes_its_start_is_kept(redis_client: redis.Redis) -> None:
    write_facts(redis_client, end_fact(attempt=0, outcome=Outcome.FAILED, status=503, error_code="no_worker"))
    drain(redis_client)
    assert not UsageRecord.objects.exists()
    write_facts(redis_client, start_fact())
    drain(redis_client)
    row = UsageRecord.objects.get()
    assert (row.state, row.outcome, row.status, row.error_code) == ("settled", "failed", 503, "no_worker")


def test_a_meter_alone_opens_a_record(redis_client: redis.Redis) -> None:
    write_facts(redis_client, meter_fact())
    drain(redis_client)
    row = UsageRecord.objects.get()
    assert (row.state, row.tenant_id, row.completion_tokens) == ("open", None, 7)
    assert row.started_at.timestamp() == pytest.approx(STARTED_AT + 0.2)
    write_facts(redis_client, start_fact())
    drain(redis_client)
    row.refresh_from_db()
    assert row.started_at.timestamp() == STARTED_AT
    assert row.tenant_id is not None


def test_invalid_facts_are_set_aside_and_the_others_stored(
    redis_client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    redis_client.xadd(names.FACTS_STREAM, {names.FACTS_FIELD: b"\xc1 no fact"})
    redis_client.xadd(names.FACTS_STREAM, {b"other": b"field"})
    write_facts(redis_client, start_fact(tenant_id="not-a-uuid"), meter_fact(), end_fact())
    with caplog.at_level(logging.ERROR, logger="cyllm.ledger"):
        assert drain(redis_client) == 5
    assert UsageRecord.objects.get().state == "settled"
    entries: Any = redis_client.xrange(DEAD_STREAM)
    dead_facts = [fields for _, fields in entries]
    assert len(dead_facts) == 3
    assert dead_facts[0][names.FACTS_FIELD] == b"\xc1 no fact"
    assert b"UUID" in dead_facts[2][b"reason"]
    assert caplog.text.count("cannot store fact") == 3
    assert redis_client.xlen(names.FACTS_STREAM) == 0


def test_only_the_fact_that_the_database_rejects_is_set_aside(
    redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tenants.ledger.drain.fact_decode", codec.decode_fact)
    write_facts(
        redis_client,
        start_fact("r1"),
        meter_fact("r1", tokens=-5),
        start_fact("r2"),
        meter_fact("r2"),
        end_fact("r2"),
    )
    assert drain(redis_client) == 5
    assert UsageRecord.objects.get(request_id="r2").state == "settled"
    assert UsageRecord.objects.get(request_id="r1").completion_tokens == 0
    assert redis_client.xlen(DEAD_STREAM) == 1


def test_any_text_from_clients_can_be_stored(redis_client: redis.Redis) -> None:
    write_facts(redis_client, end_fact(attempt=0, model="m\x00\n" + "x" * 500, correlation_id="\x00" * 300))
    drain(redis_client)
    audit = AuditRecord.objects.get()
    assert audit.model.startswith("m\N{REPLACEMENT CHARACTER}\n")
    assert (len(audit.model), len(audit.correlation_id)) == (200, 200)
    assert redis_client.xlen(DEAD_STREAM) == 0


def test_pending_entries_of_a_dead_consumer_are_claimed(
    redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    drain(redis_client)
    write_facts(redis_client, start_fact(), meter_fact(), end_fact())
    redis_client.xreadgroup(names.FACTS_GROUP, "dead", {names.FACTS_STREAM: ">"}, count=10)
    assert drain(redis_client, consumer="alive") == 0
    assert CLAIM_IDLE_MS >= 10_000
    monkeypatch.setattr("tenants.ledger.drain.CLAIM_IDLE_MS", 0)
    assert drain(redis_client, consumer="alive") == 3
    assert UsageRecord.objects.get().state == "settled"
    assert pending_count(redis_client) == 0


def test_a_batch_stored_but_not_acknowledged_changes_nothing_when_read_again(
    redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    def disconnect(client: redis.Redis, entry_ids: object) -> None:
        raise redis.ConnectionError

    write_facts(redis_client, start_fact(), meter_fact(), end_fact())
    with monkeypatch.context() as patch:
        patch.setattr("tenants.ledger.drain._remove", disconnect)
        with pytest.raises(redis.ConnectionError):
            ledger_drain(redis_client, consumer="tests")
    first = UsageRecord.objects.values().get()
    assert drain(redis_client) == 3
    assert UsageRecord.objects.values().get() == first
    assert AuditRecord.objects.count() == 1


def test_a_key_records_its_last_use(redis_client: redis.Redis, cast: Cast) -> None:
    key = ApiKey.objects.get(tenant=cast.acme)
    write_facts(redis_client, start_fact(tenant_id=str(cast.acme.id), key_id=str(key.id)))
    drain(redis_client)
    key.refresh_from_db()
    assert key.last_used_at == dt.datetime.fromtimestamp(STARTED_AT, dt.UTC)


@pytest.mark.django_db(transaction=True)
def test_concurrent_drains_of_repeated_facts_record_each_request_once(redis_client: redis.Redis) -> None:
    requests = [f"r{number}" for number in range(150)]
    facts = [fact for name in requests for fact in (start_fact(name), meter_fact(name), end_fact(name))]
    deliveries = facts * 2
    random.Random(7).shuffle(deliveries)
    write_facts(redis_client, *deliveries)
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
    assert pending_count(redis_client) == 0


def test_the_task_drains_until_the_stream_is_empty(
    redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_facts(redis_client, *[end_fact(f"r{number}", attempt=0) for number in range(1200)])
    assert tasks.ledger_drain_task() == 1200
    assert AuditRecord.objects.count() == 1200
    assert consumer_name().encode() in [
        consumer["name"] for consumer in redis_client.xinfo_consumers(names.FACTS_STREAM, names.FACTS_GROUP)
    ]


@pytest.mark.parametrize("task", [tasks.ledger_drain_task, tasks.ledger_sweep_task])
def test_a_run_without_redis_logs_one_line(
    task: object, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    unreachable = redis.Redis(host="127.0.0.1", port=1, retry=Retry(NoBackoff(), 0))
    monkeypatch.setattr(tasks, "ledger_client", lambda _url: unreachable)
    assert callable(task)
    with caplog.at_level(logging.WARNING):
        assert task() == 0
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "postponed to the next run" in caplog.text


def test_the_relayed_count_stands_until_the_workers_meter_arrives(redis_client: redis.Redis) -> None:
    relayed = Meter(prompt_tokens=11, completion_tokens=6, total_s=0.6)
    write_facts(redis_client, start_fact(), end_fact(relayed=relayed))
    drain(redis_client)
    row = UsageRecord.objects.get()
    assert (row.state, row.meter_source, row.completion_tokens) == ("open", "gateway", 6)
    write_facts(redis_client, meter_fact())
    drain(redis_client)
    row.refresh_from_db()
    assert (row.state, row.meter_source, row.completion_tokens) == ("settled", "worker", 7)
