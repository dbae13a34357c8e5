"""A fact survives a Redis that loses its last writes: the writer holds it until the ledger has stored it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import redis

from inference_worker.protocol import names
from inference_worker.protocol.messages import Fact
from inference_worker.transport.facts import FactWriter
from tests.gateway.harness import records
from tests.gateway.harness.conditions import eventually
from tests.tenants.facts import end_fact, start_fact

IDS = {start_fact(name).request_id for name in ("kept", "r0", "r1", "r2")}


def facts_of(redis_client: redis.Redis) -> list[Fact]:
    """Return the facts of these tests. A running site has a writer of its own."""
    return [fact for fact in records.facts_of(redis_client) if getattr(fact, "request_id", None) in IDS]


@pytest.mark.case("robustness.5")
async def test_facts_that_redis_loses_are_written_again(redis_url: str, redis_client: redis.Redis) -> None:
    writer = FactWriter(redis_url)
    await writer.start()
    await eventually(lambda: writer.is_up)
    await writer.put(start_fact("kept"))
    writer.add(end_fact("kept"))
    await eventually(lambda: writer.unstored_count == 2)
    redis_client.delete(names.FACTS_STREAM)  # as a restart does with the writes of its last second
    redis_client.client_kill_filter(_type="normal", skipme=True)
    await eventually(lambda: len(facts_of(redis_client)) == 2 and writer.unstored_count == 2)
    assert facts_of(redis_client) == [start_fact("kept"), end_fact("kept")]
    await writer.stop()


@pytest.mark.case("robustness.5")
async def test_stored_facts_are_released_and_not_written_again(
    redis_url: str, redis_client: redis.Redis
) -> None:
    writer = FactWriter(redis_url)
    await writer.start()
    await eventually(lambda: writer.is_up)
    for number in range(3):
        await writer.put(start_fact(f"r{number}"))
    entries: Any = redis_client.xrange(names.FACTS_STREAM)
    redis_client.xdel(names.FACTS_STREAM, entries[0][0])
    await eventually(lambda: writer.unstored_count == 2)
    redis_client.client_kill_filter(_type="normal", skipme=True)
    await eventually(lambda: len(facts_of(redis_client)) == 4 and writer.unstored_count == 2)
    redis_client.xtrim(names.FACTS_STREAM, 0)
    await eventually(lambda: writer.unstored_count == 0)
    redis_client.client_kill_filter(_type="normal", skipme=True)
    await eventually(lambda: not writer.is_up)
    await eventually(lambda: writer.is_up)
    await asyncio.sleep(0.5)
    assert facts_of(redis_client) == []
    await writer.stop()


async def test_facts_are_written_again_when_the_data_of_redis_were_deleted(
    redis_client: redis.Redis, redis_url: str
) -> None:
    writer = FactWriter(redis_url)
    await writer.start()
    await eventually(lambda: writer.is_up)
    await writer.put(start_fact("r1"))
    await eventually(lambda: redis_client.exists("cyllm:incarnation") == 1)
    await asyncio.sleep(0.3)  # the writer has seen the incarnation
    redis_client.flushall()
    await eventually(lambda: facts_of(redis_client) == [start_fact("r1")])
    await eventually(lambda: writer.unstored_count == 1)
    await writer.stop()
