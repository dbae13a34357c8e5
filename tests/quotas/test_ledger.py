"""The counters and the ledger: settlement by the sweep, rebuilding, and comparison."""

from __future__ import annotations

import datetime as dt
import time
import uuid
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
import redis
from django.db import transaction
from django.utils import timezone

from tenants.ledger import late_facts
from tenants.ledger.sweep import ledger_sweep
from tenants.limits.columns import UsageLimits
from tenants.models import SpendReservation, UsageRecord
from tenants.quotas import rebuild, sweep
from tenants.quotas.amounts import utc_day
from tenants.quotas.counters import names
from tenants.quotas.rebuild import RebuildTimeout, counters_rebuild
from tenants.quotas.reservations import spend_reserve
from tenants.quotas.sweep import reservations_sweep
from tenants.quotas.verify import counters_verify
from tenants.tasks import quota_sweep_task, quota_verify_task
from tests.quotas.world import COST, METER, RESERVED, World
from tests.tenants.facts import meter_fact, write_facts

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("quick_rebuilds")]


def test_the_sweep_settles_what_the_ledger_has_settled_once_its_lease_has_ended(world: World) -> None:
    counters_rebuild(world.client, world.tenant_id)
    world.reserve("leased")
    world.reserve("ended", lease_ms=1)
    world.reserve("running", lease_ms=1)
    write_facts(world.client, *world.settled_facts("leased"), *world.settled_facts("ended"))
    write_facts(world.client, world.started("running"))
    world.drain()
    time.sleep(0.01)
    assert world.spend == 3 * RESERVED
    assert reservations_sweep(world.client) == 1
    assert world.open_ids == {"leased", "running"}, "the gateway of the first settles it itself"
    assert world.spend == 2 * RESERVED + COST
    assert world.counters()["tokens"] == str(100 + 100 + 35)
    assert reservations_sweep(world.client) == 0


def test_a_lease_ends_on_time_although_the_clock_of_redis_was_set_back(world: World) -> None:
    counters_rebuild(world.client, world.tenant_id)
    world.reserve("early", lease_ms=86_400_000)
    world.reserve("renewed")
    write_facts(world.client, *world.settled_facts("early"))
    world.drain()
    assert reservations_sweep(world.client) == 0
    leases = (names.tenant_leases(world.tenant_id), names.key_leases(world.tenant_id, world.key_id))
    ends: Any = [world.client.zscore(key, "early") for key in leases]
    assert all(0 < end / 1000 - time.time() < 11 for end in ends)


def test_a_reservation_without_a_record_is_returned_once_its_facts_would_be_stored(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    counters_rebuild(world.client, world.tenant_id)
    world.reserve("vanished", lease_ms=1)
    time.sleep(0.01)
    assert reservations_sweep(world.client) == 0, "its facts may be under way"
    monkeypatch.setattr(sweep, "UNRECORDED_AFTER", dt.timedelta(0))
    assert reservations_sweep(world.client) == 1
    assert (world.open_ids, world.spend, world.counters()["requests"]) == (set(), 0, "0")


def test_a_reservation_without_a_record_stays_while_older_facts_wait(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep, "UNRECORDED_AFTER", dt.timedelta(0))
    counters_rebuild(world.client, world.tenant_id)
    write_facts(world.client, world.started("another"))
    time.sleep(0.01)
    world.reserve("late", lease_ms=1)
    time.sleep(0.01)
    assert reservations_sweep(world.client) == 0
    assert world.open_ids == {"late"}


def test_a_rebuild_reads_what_is_settled_and_open_and_first_lets_the_ledger_store_everything(
    world: World,
) -> None:
    write_facts(world.client, *world.settled_facts("settled"), world.started("open"))
    assert counters_rebuild(world.client, world.tenant_id)
    assert world.open_ids == {"open"}
    assert world.spend == COST + RESERVED
    counters = world.counters()
    assert (counters["requests"], counters["tokens"]) == ("2", str(35 + 100))
    key_counters: Any = world.client.hgetall(names.key_counters(world.tenant_id, world.key_id))
    assert int(key_counters[b"requests"]) == 2
    assert world.client.zcard(names.key_leases(world.tenant_id, world.key_id)) == 1
    assert not counters_rebuild(world.client, world.tenant_id), "they are those of this incarnation"
    verdict = world.reserve("next")
    assert (verdict.tenant.requests, verdict.key.requests) == (3, 3)


def test_a_rebuild_keeps_what_is_reserved_for_requests_that_the_ledger_does_not_know_yet(
    world: World,
) -> None:
    counters_rebuild(world.client, world.tenant_id)
    world.reserve("in flight")
    world.reserve("settled")
    write_facts(world.client, *world.settled_facts("settled"))
    assert counters_rebuild(world.client, world.tenant_id, is_forced=True)
    assert world.open_ids == {"in flight"}
    assert world.spend == RESERVED + COST
    assert world.counters()["tokens"] == str(100 + 35)
    key_counters: Any = world.client.hgetall(names.key_counters(world.tenant_id, world.key_id))
    assert int(key_counters[b"requests"]) == 2
    write_facts(world.client, *world.settled_facts("in flight"))
    world.drain()
    world.client.zadd(names.tenant_leases(world.tenant_id), {"in flight": 1})
    assert reservations_sweep(world.client) == 1
    assert world.spend == 2 * COST


def test_an_open_request_of_hours_ago_leaves_the_counters_usable(world: World) -> None:
    world.now -= 3 * 3600
    write_facts(world.client, world.started("old"))
    world.now += 3 * 3600
    write_facts(world.client, *world.settled_facts("new"))
    assert counters_rebuild(world.client, world.tenant_id)
    verdict = world.reserve("next", limits=UsageLimits(requests_per_minute=2))
    assert (verdict.refusal, verdict.tenant.requests, verdict.tenant.tokens) == (None, 2, 35 + 100)
    assert world.open_ids == {"old", "next"}


def test_spend_of_earlier_days_counts_to_the_month_only(world: World) -> None:
    write_facts(world.client, *world.settled_facts("settled"))
    world.drain()
    now = timezone.now()
    first = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    UsageRecord.objects.update(started_at=first)
    counters_rebuild(world.client, world.tenant_id)
    assert world.spend == COST
    assert world.counters()[f"d{first:%Y%m%d}"] == str(COST)
    UsageRecord.objects.update(started_at=first - dt.timedelta(seconds=1))
    counters_rebuild(world.client, world.tenant_id, is_forced=True)
    assert world.spend == 0


def test_reserved_spend_counts_on_each_day_until_it_is_released(world: World) -> None:
    tenant_id, key_id = world.tenant.id, uuid.UUID(world.key_id)
    with transaction.atomic():
        spend_reserve(source_id="ftjob-1", tenant_id=tenant_id, key_id=key_id, amount=5000)
    assert counters_rebuild(world.client, world.tenant_id)
    assert world.spend == 5000
    assert counters_verify(world.client) == 0
    assert world.reserve("first").tenant.day == 5000 + RESERVED
    world.now += 86_400
    budget = UsageLimits(spend_per_month_microusd=10**9)
    assert world.reserve("tomorrow", limits=budget) is None, "the counters have to be rebuilt"
    with transaction.atomic():
        spend_reserve(source_id="ftjob-1", tenant_id=tenant_id, key_id=key_id, amount=0)
    assert counters_rebuild(world.client, world.tenant_id)
    assert "reserved_day" not in world.counters()


def test_reserved_spend_moves_to_the_next_month_without_a_warning(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    reservation = {"source_id": "ftjob-1", "tenant_id": world.tenant.id, "amount_microusd": 5000}
    assert str(SpendReservation.objects.create(**reservation)) == "ftjob-1"
    assert counters_rebuild(world.client, world.tenant_id)
    counters, month = names.tenant_counters(world.tenant_id), f"m{utc_day(world.now)[:6]}"
    world.client.hset(counters, "reserved_day", "20200131")  # as if it were the month before
    world.client.hdel(counters, month)
    assert [counters_verify(world.client) for _ in range(2)] == [1, 0]
    assert "by the ledger" not in caplog.text
    assert counters_rebuild(world.client, world.tenant_id)
    assert world.spend == 5000


def test_spend_that_changes_during_a_rebuild_is_in_the_counters(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    state_of, amounts = rebuild._state, [7000, 5000]

    def state_before_a_change(*args: Any) -> Any:
        state = state_of(*args)
        if amounts:  # committed after the ledger was read
            with transaction.atomic():
                spend_reserve(
                    source_id="ftjob-1", tenant_id=world.tenant.id, key_id=None, amount=amounts.pop()
                )
        return state

    monkeypatch.setattr(rebuild, "_state", state_before_a_change)
    assert counters_rebuild(world.client, world.tenant_id)
    assert world.spend == 7000
    assert not world.client.exists(names.rebuild_lock(world.tenant_id))


def test_a_forced_rebuild_does_not_accept_what_another_process_has_read_before(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    state_of, amounts = rebuild._state, [7000]

    def state_before_a_change(*args: Any) -> Any:
        state = state_of(*args)
        if amounts:
            SpendReservation.objects.create(
                source_id="ftjob-1", tenant_id=world.tenant.id, amount_microusd=amounts.pop()
            )
            assert counters_rebuild(world.client, world.tenant_id, is_forced=True, timeout_s=1.0)
        return state

    monkeypatch.setattr(rebuild, "_state", state_before_a_change)
    assert not counters_rebuild(world.client, world.tenant_id)
    assert world.spend == 7000


def test_only_one_process_rebuilds(world: World) -> None:
    lock = names.rebuild_lock(world.tenant_id)
    world.client.set(lock, "another process")
    with pytest.raises(RebuildTimeout):
        counters_rebuild(world.client, world.tenant_id, timeout_s=0.1)
    assert world.client.get(lock) == b"another process"
    assert world.counters() == {}


def test_a_rebuild_waits_for_facts_that_another_drain_has_taken(world: World) -> None:
    write_facts(world.client, world.started("taken"))
    world.client.xgroup_create("cyllm:facts", "ledger", id="0")
    world.client.xreadgroup("ledger", "another", {"cyllm:facts": ">"})
    with pytest.raises(RebuildTimeout):
        counters_rebuild(world.client, world.tenant_id, timeout_s=0.2)


@pytest.mark.case("serving.3")
def test_facts_from_before_a_loss_count_although_they_are_stored_after_the_rebuild(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    # However old Redis's data are, the facts are older.
    monkeypatch.setattr(late_facts, "CLOCK_SKEW_S", 1e6)
    counters_rebuild(world.client, world.tenant_id)
    write_facts(world.client, *world.settled_facts("late"))
    world.drain()
    assert world.spend == 0
    reservations_sweep(world.client)
    assert counters_rebuild(world.client, world.tenant_id), "the next admission finds no counters"
    assert world.spend == COST
    reservations_sweep(world.client)
    assert not counters_rebuild(world.client, world.tenant_id)


def test_a_fact_that_changes_a_settled_record_counts(world: World) -> None:
    counters_rebuild(world.client, world.tenant_id)
    world.reserve("metered late", lease_ms=1)
    start, meter, end = world.settled_facts("metered late")
    write_facts(world.client, start, end)
    world.drain()
    ledger_sweep(world.client, now=timezone.now() + dt.timedelta(minutes=5))
    assert reservations_sweep(world.client) == 1
    assert world.spend == 0
    assert not counters_rebuild(world.client, world.tenant_id), "what came in time needs no rebuild"
    write_facts(world.client, meter)
    world.drain()
    reservations_sweep(world.client)
    assert counters_rebuild(world.client, world.tenant_id)
    assert world.spend == COST


def test_the_late_meter_of_an_attempt_that_is_not_charged_leaves_the_counters(world: World) -> None:
    counters_rebuild(world.client, world.tenant_id)
    start, _, end = world.settled_facts("tried twice")
    last_meter = msgspec.structs.replace(meter_fact("tried twice", attempt=2), meter=METER, at=world.now)
    write_facts(world.client, start, last_meter, msgspec.structs.replace(end, attempt=2))
    world.drain()
    write_facts(world.client, msgspec.structs.replace(meter_fact("tried twice"), at=world.now))
    world.drain()
    reservations_sweep(world.client)
    record = UsageRecord.objects.get()
    assert (record.wasted_tokens, record.cost_microusd) == (11 + 7, COST)
    assert not counters_rebuild(world.client, world.tenant_id)


def test_counters_that_differ_from_the_ledger_twice_are_rebuilt(world: World) -> None:
    counters_rebuild(world.client, world.tenant_id)
    world.reserve("settled", lease_ms=1)
    write_facts(world.client, *world.settled_facts("settled"))
    world.drain()
    time.sleep(0.01)
    assert counters_verify(world.client) == 0, "a request is open"
    reservations_sweep(world.client)
    assert counters_verify(world.client) == 0
    assert world.spend == COST
    UsageRecord.objects.update(cost_microusd=COST + 5)  # as a late fact does
    assert counters_verify(world.client) == 0, "its fact may be under way"
    assert counters_verify(world.client) == 1
    assert counters_rebuild(world.client, world.tenant_id)
    assert world.spend == COST + 5
    assert counters_verify(world.client) == 0


@pytest.mark.parametrize("task", [quota_sweep_task, quota_verify_task])
def test_a_task_is_postponed_while_redis_is_unavailable(
    task: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    from tenants import tasks

    monkeypatch.setattr(tasks, "ledger_client", lambda _: redis.Redis(port=1))
    assert task() == 0
