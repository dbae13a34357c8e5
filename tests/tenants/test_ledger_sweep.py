"""The sweep settles what no fact settles, and late facts still find their record."""

from __future__ import annotations

import datetime as dt
import socket
import time

import pytest
import redis
from django.utils import timezone

from inference_worker.protocol import names
from inference_worker.protocol.messages import Fact, Meter, Outcome
from tenants import tasks
from tenants.ledger.drain import ledger_drain
from tenants.ledger.presence import MISSING_S
from tenants.ledger.sweep import ledger_sweep
from tenants.models import AuditRecord, UsageRecord
from tests.tenants.facts import ended, metered, started, write

pytestmark = pytest.mark.django_db


def record(client: redis.Redis, *facts: Fact) -> UsageRecord:
    write(client, *facts)
    while ledger_drain(client, consumer="tests"):
        pass
    return UsageRecord.objects.get()


def show_life(client: redis.Redis) -> None:
    client.set(names.gateway_key("gw-1"), "1", px=int(names.GATEWAY_EXPIRY_S * 1000))


def missed_before(client: redis.Redis, *, seconds: float) -> None:
    """An earlier look, so long ago by Redis's clock, has found no sign of the gateway."""
    now_s, _ = client.time()
    client.hset(names.GATEWAYS_MISSING, "gw-1", str(now_s - seconds))


def sweep(client: redis.Redis, *, later_s: float, alive: bool) -> int:
    """Sweep as it would be in ``later_s``, with the gateway then alive or gone for long."""
    if alive:
        show_life(client)
    else:
        client.delete(names.gateway_key("gw-1"))
        missed_before(client, seconds=60)
    return ledger_sweep(client, now=timezone.now() + dt.timedelta(seconds=later_s))


def test_a_count_that_never_came_is_replaced_by_what_was_relayed(redis_client: redis.Redis) -> None:
    relayed = Meter(prompt_tokens=11, completion_tokens=6, total_s=0.6)
    row = record(redis_client, started(), ended(relayed=relayed))
    assert sweep(redis_client, later_s=9, alive=True) == 0
    assert sweep(redis_client, later_s=11, alive=True) == 1
    row.refresh_from_db()
    assert (row.state, row.outcome, row.meter_source, row.completion_tokens) == (
        "settled",
        "completed",
        "gateway",
        6,
    )
    assert sweep(redis_client, later_s=60, alive=True) == 0


def test_without_any_count_nothing_is_charged(redis_client: redis.Redis) -> None:
    row = record(redis_client, started(), ended(outcome=Outcome.FAILED, status=502))
    assert sweep(redis_client, later_s=11, alive=True) == 1
    row.refresh_from_db()
    assert (row.state, row.outcome, row.meter_source) == ("settled", "failed", "none")
    assert (row.prompt_tokens, row.completion_tokens) == (0, 0)


@pytest.mark.parametrize("facts", [(started(),), (started(), metered())])
def test_a_request_of_a_living_gateway_stays_open(redis_client: redis.Redis, facts: tuple[Fact, ...]) -> None:
    row = record(redis_client, *facts)
    assert sweep(redis_client, later_s=3600, alive=True) == 0
    row.refresh_from_db()
    assert (row.state, row.outcome) == ("open", "pending")


def test_a_request_of_a_dead_gateway_is_lost_and_charged_by_the_workers_count(
    redis_client: redis.Redis,
) -> None:
    row = record(redis_client, started(), metered(outcome=Outcome.CANCELLED))
    assert sweep(redis_client, later_s=4, alive=False) == 0
    assert sweep(redis_client, later_s=6, alive=False) == 1
    row.refresh_from_db()
    assert (row.state, row.outcome, row.status) == ("settled", "lost", 0)
    assert (row.meter_source, row.completion_tokens) == ("worker", 7)
    audit = AuditRecord.objects.get()
    assert (audit.request_id, audit.status, audit.outcome) == ("r1", 0, "lost")
    assert (audit.tenant_id, audit.correlation_id) == (row.tenant_id, "c-r1")


def test_without_a_workers_count_a_lost_request_waits_for_it_and_then_costs_nothing(
    redis_client: redis.Redis,
) -> None:
    row = record(redis_client, started())
    assert sweep(redis_client, later_s=9, alive=False) == 0
    assert sweep(redis_client, later_s=11, alive=False) == 1
    row.refresh_from_db()
    assert (row.outcome, row.meter_source, row.completion_tokens) == ("lost", "none", 0)


def test_a_late_count_improves_a_record_settled_without_one(redis_client: redis.Redis) -> None:
    row = record(redis_client, started())
    sweep(redis_client, later_s=11, alive=False)
    row.refresh_from_db()
    settled_at, tenant_id = row.settled_at, row.tenant_id
    row = record(redis_client, metered())
    assert (row.state, row.outcome, row.meter_source, row.completion_tokens) == (
        "settled",
        "lost",
        "worker",
        7,
    )
    assert (row.settled_at, row.tenant_id) == (settled_at, tenant_id)
    assert AuditRecord.objects.count() == 1


def test_a_gateway_that_was_only_slow_still_tells_how_it_ended(redis_client: redis.Redis) -> None:
    record(redis_client, started(), metered())
    sweep(redis_client, later_s=6, alive=False)
    assert AuditRecord.objects.get().outcome == "lost"
    row = record(redis_client, ended())
    assert (row.state, row.outcome, row.status, row.completion_tokens) == ("settled", "completed", 200, 7)
    audit = AuditRecord.objects.get()
    assert (audit.outcome, audit.status, audit.client_ip) == ("completed", 200, "192.0.2.7")


def test_repeated_facts_after_settling_change_nothing(redis_client: redis.Redis) -> None:
    facts = (started(), metered(), ended())
    record(redis_client, *facts)
    usage, audit = UsageRecord.objects.values().get(), AuditRecord.objects.values().get()
    record(redis_client, *reversed(facts))
    assert UsageRecord.objects.values().get() == usage
    assert AuditRecord.objects.values().get() == audit
    assert sweep(redis_client, later_s=3600, alive=False) == 0


def test_many_records_are_swept_in_one_call(
    redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tenants.ledger.sweep.BATCH", 7)
    write(redis_client, *[started(f"r{number}") for number in range(20)])
    while ledger_drain(redis_client, consumer="tests"):
        pass
    assert sweep(redis_client, later_s=11, alive=False) == 20
    assert not UsageRecord.objects.filter(state="open").exists()
    assert AuditRecord.objects.filter(outcome="lost").count() == 20


def test_the_sweep_task_works_before_the_first_drain_and_forgets_old_consumers(
    redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert tasks.ledger_sweep_task() == 0
    row = record(redis_client, started())
    UsageRecord.objects.update(updated_at=timezone.now() - dt.timedelta(seconds=11))
    monkeypatch.setattr("tenants.ledger.drain.CONSUMER_IDLE_MS", -1)
    missed_before(redis_client, seconds=60)
    assert tasks.ledger_sweep_task() == 1
    row.refresh_from_db()
    assert row.outcome == "lost"
    assert redis_client.xinfo_consumers(names.FACTS_STREAM, names.FACTS_GROUP) == []


def test_a_gateway_is_gone_only_when_two_looks_apart_have_missed_it(redis_client: redis.Redis) -> None:
    record(redis_client, started())
    later = timezone.now() + dt.timedelta(hours=1)
    assert ledger_sweep(redis_client, now=later) == 0, "a Redis just back holds no sign of anyone"
    assert ledger_sweep(redis_client, now=later) == 0, "the second look came too soon"
    show_life(redis_client)
    assert ledger_sweep(redis_client, now=later) == 0
    assert redis_client.hgetall(names.GATEWAYS_MISSING) == {}, "seen again: the count begins anew"
    redis_client.delete(names.gateway_key("gw-1"))
    assert ledger_sweep(redis_client, now=later) == 0
    missed_before(redis_client, seconds=MISSING_S + 1)
    assert ledger_sweep(redis_client, now=later) == 1


def test_workers_silent_for_an_hour_are_forgotten(redis_client: redis.Redis) -> None:
    now_s, _ = redis_client.time()
    redis_client.zadd(names.WORKER_INDEX, {"lives": now_s, "rests": now_s - 3500, "dead": now_s - 3700})
    assert tasks.ledger_sweep_task() == 0
    assert redis_client.zrange(names.WORKER_INDEX, 0, -1) == [b"rests", b"lives"]


def test_a_silent_redis_puts_the_sweep_off_instead_of_hanging(
    redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent_url = f"redis://127.0.0.1:{silent.getsockname()[1]}/0"
        client = tasks.ledger_client.__wrapped__(silent_url)
        client.connection_pool.connection_kwargs["socket_timeout"] /= 50
        monkeypatch.setattr(tasks, "ledger_client", lambda _url: client)
        begun = time.monotonic()
        assert (tasks.ledger_sweep_task(), tasks.ledger_drain_task()) == (0, 0)
        assert time.monotonic() - begun < 5
