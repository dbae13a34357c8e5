"""The sweep settles what no fact settles, and late facts still find their record."""

from __future__ import annotations

import datetime as dt

import pytest
import redis
from django.utils import timezone

from inference_worker.protocol import names
from inference_worker.protocol.messages import Fact, Meter, Outcome
from tenants import tasks
from tenants.ledger.drain import ledger_drain
from tenants.ledger.sweep import ledger_sweep
from tenants.models import AuditRecord, UsageRecord
from tests.tenants.facts import ended, metered, started, write

pytestmark = pytest.mark.django_db


def record(client: redis.Redis, *facts: Fact) -> UsageRecord:
    write(client, *facts)
    while ledger_drain(client, consumer="tests"):
        pass
    return UsageRecord.objects.get()


def sweep(client: redis.Redis, *, later_s: float, alive: bool) -> int:
    """Sweep as it would be in ``later_s``, with the gateway then alive or not."""
    now = timezone.now() + dt.timedelta(seconds=later_s)
    if alive:
        client.zadd(names.GATEWAY_INDEX, {"gw-1": now.timestamp()})
    return ledger_sweep(client, now=now)


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


@pytest.mark.criterion("5.2")
def test_a_request_of_a_dead_gateway_is_lost_and_charged_by_the_workers_count(
    redis_client: redis.Redis,
) -> None:
    row = record(redis_client, started(), metered(outcome=Outcome.CANCELLED))
    redis_client.zadd(names.GATEWAY_INDEX, {"gw-1": timezone.now().timestamp()})
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
    assert tasks.ledger_sweep_task() == 1
    row.refresh_from_db()
    assert row.outcome == "lost"
    assert redis_client.xinfo_consumers(names.FACTS_STREAM, names.FACTS_GROUP) == []
