"""Sums stay exact while drains, training, the sweep of late facts and a rebuild write at the same time."""

from __future__ import annotations

import datetime as dt
import random
import threading
from collections.abc import Callable

import pytest
from django.db import connection
from django.utils import timezone

from tenants.ledger.store import facts_store
from tenants.models import UsageRecord
from tenants.usage.rebuild import rollups_rebuild, rollups_verify
from tenants.usage.sums import UsagePeriod, usage_total
from tests.tenants.facts import STARTED_AT, end_fact, meter_fact, start_fact
from tests.usage.records import usage_record
from tests.usage.test_rollups import PRICES

REQUESTS = 60


def run_together(*works: Callable[[], None]) -> list[BaseException]:
    """Run the functions in threads with connections of their own; returns their failures."""
    failures: list[BaseException] = []

    def run(work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:
            failures.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return failures


@pytest.mark.django_db(transaction=True)
def test_concurrent_writers_leave_exact_sums() -> None:
    choice = random.Random(11)
    facts = [
        fact
        for number in range(REQUESTS)
        for fact in (
            start_fact(f"r{number}", prices=PRICES),
            meter_fact(f"r{number}", tokens=number),
            end_fact(f"r{number}"),
        )
    ]
    deliveries = facts * 2
    choice.shuffle(deliveries)
    at = dt.datetime.fromtimestamp(STARTED_AT, dt.UTC)

    def drain(part: int) -> None:
        own = deliveries[part::2]
        for start in range(0, len(own), 15):
            facts_store(own[start : start + 15], now=timezone.now())

    def train() -> None:
        for number in range(30):
            usage_record(at, request_id=f"ftjob-{number}-1", trained_tokens=10, model="smollm2")

    def rebuild() -> None:
        for _ in range(5):
            rollups_rebuild()

    assert run_together(lambda: drain(0), lambda: drain(1), train, rebuild) == []
    assert rollups_verify() == []
    total = usage_total(UsagePeriod())
    assert (total.requests, total.trained_tokens) == (REQUESTS + 30, 300)
    assert total.completion_tokens == sum(range(REQUESTS)) + 30 * 5
    assert total.cost_microusd == sum(UsageRecord.objects.values_list("cost_microusd", flat=True))
