"""The sweep settles requests without further facts, and late facts still update their record."""

from __future__ import annotations

import datetime as dt
import socket
import time

import msgspec
import pytest
import redis
from django.utils import timezone

from inference_worker.protocol import names
from inference_worker.protocol.messages import Fact, Meter, Outcome
from tenants import tasks
from tenants.ledger.drain import ledger_drain
from tenants.ledger.sweep import ledger_sweep
from tenants.models import AuditRecord, UsageRecord
from tests.tenants.facts import end_fact, meter_fact, read_start_fact, start_fact, write_facts

pytestmark = pytest.mark.django_db


def drain_facts(client: redis.Redis, *facts: Fact) -> UsageRecord:
    write_facts(client, *facts)
    while ledger_drain(client, consumer="tests"):
        pass
    return UsageRecord.objects.get()


def set_presence_key(client: redis.Redis) -> None:
    client.set(names.gateway_key("gw-1"), "1", px=int(names.GATEWAY_EXPIRY_S * 1000))


def mark_missing(client: redis.Redis, *, seconds: float) -> None:
    """Pretend that the gateway's presence key was missing this long ago by Redis's clock."""
    now_s, _ = client.time()
    client.hset(names.GATEWAYS_MISSING, "gw-1", str(now_s - seconds))


def sweep(client: redis.Redis, *, later_s: float, is_alive: bool) -> int:
    """Sweep as if ``later_s`` had passed, with the gateway alive or long dead."""
    if is_alive:
        set_presence_key(client)
    else:
        client.delete(names.gateway_key("gw-1"))
        mark_missing(client, seconds=60)
    return ledger_sweep(client, now=timezone.now() + dt.timedelta(seconds=later_s))


def test_a_missing_meter_is_replaced_by_the_relayed_count(redis_client: redis.Redis) -> None:
    relayed = Meter(prompt_tokens=11, completion_tokens=6, total_s=0.6)
    row = drain_facts(redis_client, start_fact(), end_fact(relayed=relayed))
    assert sweep(redis_client, later_s=9, is_alive=True) == 0
    assert sweep(redis_client, later_s=11, is_alive=True) == 1
    row.refresh_from_db()
    assert (row.state, row.outcome, row.meter_source, row.completion_tokens) == (
        "settled",
        "completed",
        "gateway",
        6,
    )
    assert sweep(redis_client, later_s=60, is_alive=True) == 0


def test_a_request_without_any_count_is_charged_nothing(redis_client: redis.Redis) -> None:
    row = drain_facts(redis_client, start_fact(), end_fact(outcome=Outcome.FAILED, status=502))
    assert sweep(redis_client, later_s=11, is_alive=True) == 1
    row.refresh_from_db()
    assert (row.state, row.outcome, row.meter_source) == ("settled", "failed", "none")
    assert (row.prompt_tokens, row.completion_tokens) == (0, 0)


@pytest.mark.parametrize("facts", [(start_fact(),), (start_fact(), meter_fact())])
def test_a_request_of_a_live_gateway_stays_open(redis_client: redis.Redis, facts: tuple[Fact, ...]) -> None:
    row = drain_facts(redis_client, *facts)
    assert sweep(redis_client, later_s=3600, is_alive=True) == 0
    row.refresh_from_db()
    assert (row.state, row.outcome) == ("open", "pending")


@pytest.mark.case("robustness.8")
def test_a_request_of_a_dead_gateway_is_lost_and_charged_by_the_workers_meter(
    redis_client: redis.Redis,
) -> None:
    row = drain_facts(redis_client, start_fact(), meter_fact(outcome=Outcome.CANCELLED))
    assert sweep(redis_client, later_s=4, is_alive=False) == 0
    assert sweep(redis_client, later_s=6, is_alive=False) == 1
    row.refresh_from_db()
    assert (row.state, row.outcome, row.status) == ("settled", "lost", None)
    assert (row.meter_source, row.completion_tokens) == ("worker", 7)
    audit = AuditRecord.objects.get()
    assert (audit.request_id, audit.status, audit.outcome) == ("r1", None, "lost")
    assert (audit.tenant_id, audit.correlation_id) == (row.tenant_id, "c-r1")


@pytest.mark.case("robustness.7")
def test_a_plain_response_that_its_gateway_did_not_complete_is_not_charged(redis_client: redis.Redis) -> None:
    start = msgspec.structs.replace(start_fact(), streamed=False)
    row = drain_facts(redis_client, start, meter_fact(outcome=Outcome.CANCELLED))
    assert sweep(redis_client, later_s=6, is_alive=False) == 1
    row.refresh_from_db()
    assert (row.outcome, row.is_charged, row.completion_tokens, row.wasted_tokens) == ("lost", False, 0, 18)
    row = drain_facts(redis_client, msgspec.structs.replace(end_fact(), streamed=False))
    assert (row.outcome, row.is_charged, row.completion_tokens, row.wasted_tokens) == (
        "completed",
        True,
        7,
        0,
    )


def test_a_lost_request_waits_for_its_meter_and_is_then_charged_nothing(
    redis_client: redis.Redis,
) -> None:
    row = drain_facts(redis_client, start_fact())
    assert sweep(redis_client, later_s=9, is_alive=False) == 0
    assert sweep(redis_client, later_s=11, is_alive=False) == 1
    row.refresh_from_db()
    assert (row.outcome, row.meter_source, row.completion_tokens) == ("lost", "none", 0)


def test_a_late_meter_updates_a_record_settled_without_one(redis_client: redis.Redis) -> None:
    row = drain_facts(redis_client, start_fact())
    sweep(redis_client, later_s=11, is_alive=False)
    row.refresh_from_db()
    settled_at, tenant_id = row.settled_at, row.tenant_id
    row = drain_facts(redis_client, meter_fact())
    assert (row.state, row.outcome, row.meter_source, row.completion_tokens) == (
        "settled",
        "lost",
        "worker",
        7,
    )
    assert (row.settled_at, row.tenant_id) == (settled_at, tenant_id)
    assert AuditRecord.objects.count() == 1


def test_the_end_from_a_slow_gateway_replaces_lost(redis_client: redis.Redis) -> None:
    drain_facts(redis_client, start_fact(), meter_fact())
    sweep(redis_client, later_s=6, is_alive=False)
    assert AuditRecord.objects.get().outcome == "lost"
    row = drain_facts(redis_client, end_fact())
    assert (row.state, row.outcome, row.status, row.completion_tokens) == ("settled", "completed", 200, 7)
    audit = AuditRecord.objects.get()
    assert (audit.outcome, audit.status, audit.client_ip) == ("completed", 200, "192.0.2.7")


def test_repeated_facts_after_settling_change_nothing(redis_client: redis.Redis) -> None:
    facts = (start_fact(), meter_fact(), end_fact())
    drain_facts(redis_client, *facts)
    usage, audit = UsageRecord.objects.values().get(), AuditRecord.objects.values().get()
    drain_facts(redis_client, *reversed(facts))
    assert UsageRecord.objects.values().get() == usage
    assert AuditRecord.objects.values().get() == audit
    assert sweep(redis_client, later_s=3600, is_alive=False) == 0


def test_one_sweep_settles_many_records(redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tenants.ledger.sweep.BATCH", 7)
    write_facts(redis_client, *[start_fact(f"r{number}") for number in range(20)])
    while ledger_drain(redis_client, consumer="tests"):
        pass
    assert sweep(redis_client, later_s=11, is_alive=False) == 20
    assert not UsageRecord.objects.filter(state="open").exists()
    assert AuditRecord.objects.filter(outcome="lost").count() == 20


def test_the_sweep_task_works_before_the_first_drain_and_prunes_old_consumers(
    redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert tasks.ledger_sweep_task() == 0
    row = drain_facts(redis_client, start_fact())
    UsageRecord.objects.update(updated_at=timezone.now() - dt.timedelta(seconds=11))
    monkeypatch.setattr("tenants.ledger.drain.CONSUMER_IDLE_MS", -1)
    mark_missing(redis_client, seconds=60)
    assert tasks.ledger_sweep_task() == 1
    row.refresh_from_db()
    assert row.outcome == "lost"
    assert redis_client.xinfo_consumers(names.FACTS_STREAM, names.FACTS_GROUP) == []


def test_a_gateway_is_dead_only_after_two_checks_several_seconds_apart(redis_client: redis.Redis) -> None:
    drain_facts(redis_client, start_fact())
    later = timezone.now() + dt.timedelta(hours=1)
    assert ledger_sweep(redis_client, now=later) == 0, (
        "a Redis that has just restarted holds no presence keys"
    )
    assert ledger_sweep(redis_client, now=later) == 0, "the second check came too soon"
    set_presence_key(redis_client)
    assert ledger_sweep(redis_client, now=later) == 0
    assert redis_client.hgetall(names.GATEWAYS_MISSING) == {}, "a present gateway resets the count"
    redis_client.delete(names.gateway_key("gw-1"))
    assert ledger_sweep(redis_client, now=later) == 0
    mark_missing(redis_client, seconds=names.GATEWAY_DEAD_AFTER_S + 1)
    assert ledger_sweep(redis_client, now=later) == 1


def test_workers_silent_for_an_hour_are_pruned(redis_client: redis.Redis) -> None:
    now_s, _ = redis_client.time()
    redis_client.zadd(names.WORKER_INDEX, {"alive": now_s, "silent": now_s - 3500, "dead": now_s - 3700})
    assert tasks.ledger_sweep_task() == 0
    assert redis_client.zrange(names.WORKER_INDEX, 0, -1) == [b"silent", b"alive"]


def test_a_silent_redis_postpones_the_tasks_instead_of_blocking_them(
    redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent_url = f"redis://127.0.0.1:{silent.getsockname()[1]}/0"
        client = tasks.ledger_client.__wrapped__(silent_url)
        client.connection_pool.connection_kwargs["socket_timeout"] /= 50
        monkeypatch.setattr(tasks, "ledger_client", lambda _url: client)
        started_at = time.monotonic()
        assert (tasks.ledger_sweep_task(), tasks.ledger_drain_task()) == (0, 0)
        assert time.monotonic() - started_at < 5


@pytest.mark.case("robustness.6")
def test_a_read_of_a_dead_gateway_leaves_an_audit_record_and_no_usage(redis_client: redis.Redis) -> None:
    row = drain_facts(redis_client, read_start_fact())
    assert (row.state, row.model) == ("open", "")
    assert sweep(redis_client, later_s=11, is_alive=False) == 1
    audit = AuditRecord.objects.get()
    assert (audit.request_id, audit.endpoint, audit.outcome, audit.status) == (
        "r1",
        "/v1/streams/{id}",
        "lost",
        None,
    )
    assert not UsageRecord.objects.exists()
    assert sweep(redis_client, later_s=60, is_alive=False) == 0


@pytest.mark.case("robustness.6")
@pytest.mark.parametrize("is_swept", [True, False])
def test_a_read_that_ends_has_one_audit_record_and_no_usage(
    redis_client: redis.Redis, is_swept: bool
) -> None:
    drain_facts(redis_client, read_start_fact())
    if is_swept:
        sweep(redis_client, later_s=11, is_alive=False)
    # Facts may be delivered again, and in any order.
    write_facts(
        redis_client, end_fact(attempt=0, model=None), read_start_fact(), end_fact(attempt=0, model=None)
    )
    while ledger_drain(redis_client, consumer="tests"):
        pass
    write_facts(redis_client, read_start_fact())
    while ledger_drain(redis_client, consumer="tests"):
        pass
    audit = AuditRecord.objects.get()
    assert (audit.outcome, audit.status, audit.client_ip) == ("completed", 200, "192.0.2.7")
    assert not UsageRecord.objects.exists()
