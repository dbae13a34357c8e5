"""Sums of usage equal the records behind them at every moment, whatever facts arrive in whatever order."""

from __future__ import annotations

import datetime as dt
import random
from collections import defaultdict
from collections.abc import Sequence

import msgspec
import pytest
from django.db import connection, transaction
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inference_worker.protocol.messages import Fact, Meter, Outcome
from inference_worker.protocol.prices import Prices
from tenants.ledger.store import facts_store
from tenants.models import UsageRecord
from tenants.usage.models import UsageRollup
from tenants.usage.rebuild import DIMENSIONS, MEASURES, rollups_rebuild, rollups_verify
from tests.tenants.facts import KEY_ID, STARTED_AT, TENANT_ID, end_fact, meter_fact, start_fact

pytestmark = pytest.mark.django_db

OTHER_TENANT = "6a4bd2f0-2222-4222-8333-444455556666"
PRICES = Prices(prompt=150_000, cached=75_000, completion=600_000)
OUTCOMES = ("completed", "cancelled", "failed", "refused", "lost")


def request_facts(number: int, choice: random.Random) -> list[Fact]:
    """Return facts of one request: a start, up to two metered attempts and an end, some of them missing."""
    request_id, at = f"r{number}", STARTED_AT + choice.choice([0, 899.9, 900, 3600, 86_400])
    tenant_id = choice.choice([TENANT_ID, OTHER_TENANT])
    start = start_fact(request_id, tenant_id=tenant_id, prices=PRICES)
    attempts = choice.choice([0, 1, 2])
    relayed = Meter(completion_tokens=choice.randrange(9)) if attempts and choice.random() < 0.3 else None
    end = end_fact(
        request_id,
        attempt=attempts,
        tenant_id=tenant_id,
        relayed=relayed,
        outcome=choice.choice(list(Outcome)),
        model=choice.choice(["smollm2", "other"]),
    )
    is_charged = choice.random() < 0.7
    facts: list[Fact] = [
        msgspec.structs.replace(start, started_at=at),
        msgspec.structs.replace(end, started_at=at, is_charged=is_charged, duration_s=choice.random() * 9),
        *(meter_fact(request_id, attempt + 1, tokens=choice.randrange(2000)) for attempt in range(attempts)),
    ]
    return [fact for fact in facts if choice.random() < 0.85]


def sums_of_records() -> dict[tuple[object, ...], dict[str, int]]:
    """Add the records up in Python."""
    sums: dict[tuple[object, ...], dict[str, int]] = defaultdict(lambda: dict.fromkeys(MEASURES, 0))
    for record in UsageRecord.objects.all():
        minute = record.started_at.minute // 15 * 15
        bucket = record.started_at.replace(minute=minute, second=0, microsecond=0)
        row = sums[bucket, record.tenant_id, record.key_id, record.model, record.endpoint]
        row["requests"] += 1
        if record.outcome in OUTCOMES:
            row[record.outcome] += 1
        for name in ("prompt", "cached", "completion", "trained", "wasted"):
            row[f"{name}_tokens"] += getattr(record, f"{name}_tokens")
        row["cost_microusd"] += record.cost_microusd
        for name in ("queue", "first_token", "total"):
            if (seconds := getattr(record, f"{name}_s")) is not None:
                row[f"{name}_us"] += round(seconds * 1e6)
                row[f"{name}_count"] += 1
    return dict(sums)


def sums_of_rollups() -> dict[tuple[object, ...], dict[str, int]]:
    """Return the maintained sums."""
    rows = UsageRollup.objects.values_list(*DIMENSIONS, *MEASURES)
    return {row[:5]: dict(zip(MEASURES, row[5:], strict=True)) for row in rows}


def batches(facts: Sequence[Fact], choice: random.Random) -> list[list[Fact]]:
    """Repeat some facts, shuffle all, and cut them into batches."""
    deliveries = [*facts, *choice.choices(facts, k=len(facts) // 2)]
    choice.shuffle(deliveries)
    size = choice.randrange(1, len(deliveries) + 1)
    return [deliveries[start : start + size] for start in range(0, len(deliveries), size)]


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32))
def test_the_sums_equal_the_records_after_every_batch_of_facts(seed: int) -> None:
    choice = random.Random(seed)
    facts = [fact for number in range(8) for fact in request_facts(number, choice)]
    if not facts:
        return
    with transaction.atomic():
        for batch in batches(facts, choice):
            facts_store(batch, now=timezone.now())
            assert sums_of_rollups() == sums_of_records()
            assert rollups_verify() == []
        for record in UsageRecord.objects.all()[:3]:
            record.delete()
        assert sums_of_rollups() == sums_of_records()
        transaction.set_rollback(True)


def test_a_late_meter_corrects_the_sums() -> None:
    relayed = Meter(prompt_tokens=11, completion_tokens=4)
    facts_store([start_fact(prices=PRICES), end_fact(relayed=relayed)], now=timezone.now())
    before = UsageRollup.objects.get()
    facts_store([meter_fact(tokens=7)], now=timezone.now())
    after = UsageRollup.objects.get()
    assert (before.requests, before.completion_tokens, before.cost_microusd) == (1, 4, 5)
    assert (after.requests, after.completion_tokens, after.cost_microusd) == (1, 7, 6)
    assert after.bucket_at == dt.datetime(2025, 6, 15, 15, 0, tzinfo=dt.UTC)


def test_no_empty_sums_remain_when_a_record_gets_its_tenant() -> None:
    facts_store([meter_fact()], now=timezone.now())
    assert UsageRollup.objects.get().tenant_id is None
    facts_store([start_fact()], now=timezone.now())
    rollup = UsageRollup.objects.get()
    assert (str(rollup.tenant_id), str(rollup.key_id), rollup.requests) == (TENANT_ID, KEY_ID, 1)


def test_sums_that_were_changed_are_found_and_rebuilt() -> None:
    facts_store([start_fact("r1"), meter_fact("r1"), end_fact("r1")], now=timezone.now())
    late = msgspec.structs.replace(start_fact("r2"), started_at=STARTED_AT + 3 * 86_400)
    facts_store([late], now=timezone.now())
    correct = sums_of_rollups()
    first, second = UsageRollup.objects.order_by("bucket_at")
    UsageRollup.objects.filter(id=first.id).update(cost_microusd=1)
    second.delete()
    UsageRollup.objects.create(
        **dict.fromkeys(MEASURES, 0), bucket_at=first.bucket_at - dt.timedelta(days=9), model="m"
    )
    deviations = rollups_verify()
    assert [deviation.model for deviation in deviations] == ["m", "smollm2", "smollm2"]
    assert [deviation.bucket_at for deviation in deviations[1:]] == [first.bucket_at, second.bucket_at]
    assert rollups_rebuild() == 2
    assert rollups_verify() == []
    assert sums_of_rollups() == correct


def test_the_migration_adds_up_the_records_so_far() -> None:
    facts_store([start_fact(), meter_fact(), end_fact()], now=timezone.now())
    expected = sums_of_rollups()
    from importlib import import_module

    migration = import_module("tenants.usage.migrations.0002_usage_triggers")
    with connection.cursor() as cursor:
        cursor.execute(migration.BACKWARDS)
        assert sums_of_rollups() == {}
        cursor.execute(migration.FORWARDS)
    assert sums_of_rollups() == expected
