"""The cache in front of keys and models never serves what was announced as changed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial

import pytest

from api.gateway.periodic import PeriodicTask
from api.gateway.state.caches import FreshCache
from api.openai.errors.service import DatabaseUnavailable


class Source:
    """Counts reads; a read can be held until ``release``."""

    def __init__(self) -> None:
        self.value = "old"
        self.reads = 0
        self.held: asyncio.Event | None = None

    async def load(self, key: str) -> str:
        self.reads += 1
        seen = self.value
        if self.held is not None:
            await self.held.wait()
        return f"{key}:{seen}"


async def test_a_value_is_read_once_until_it_is_too_old() -> None:
    source = Source()
    cache = FreshCache(source.load, max_age_s=0.05)
    assert [await cache.get("a"), await cache.get("a")] == ["a:old", "a:old"]
    assert source.reads == 1
    source.value = "new"
    await asyncio.sleep(0.06)
    assert await cache.get("a") == "a:new"


async def test_a_read_that_a_change_overtook_is_not_kept_nor_used() -> None:
    source = Source()
    cache = FreshCache(source.load, max_age_s=10)
    source.held = asyncio.Event()
    reading = asyncio.create_task(cache.get("a"))
    await asyncio.sleep(0.01)
    source.value = "new"
    cache.invalidate("a")
    source.held.set()
    assert await reading == "a:new"
    assert await cache.get("a") == "a:new"


async def test_concurrent_readers_share_a_read_and_one_leaving_harms_nobody() -> None:
    source = Source()
    source.held = asyncio.Event()
    cache = FreshCache(source.load, max_age_s=10)
    readers = [asyncio.create_task(cache.get("a")) for _ in range(5)]
    await asyncio.sleep(0.01)
    readers[0].cancel()
    source.held.set()
    results = await asyncio.gather(*readers, return_exceptions=True)
    assert isinstance(results[0], asyncio.CancelledError)
    assert results[1:] == ["a:old"] * 4
    assert source.reads == 1


async def test_the_number_of_entries_is_bounded_and_the_used_ones_stay() -> None:
    source = Source()
    cache = FreshCache(source.load, max_age_s=10, size=2)
    for key in ("a", "b", "a", "c"):
        await cache.get(key)
    reads = source.reads
    await cache.get("a")
    assert source.reads == reads
    await cache.get("b")
    assert source.reads == reads + 1


async def test_a_fault_is_not_kept() -> None:
    faults = [RuntimeError("away")]

    async def load(key: str) -> str:
        if faults:
            raise faults.pop()
        return key

    cache = FreshCache(load, max_age_s=10)
    with pytest.raises(RuntimeError):
        await cache.get("a")
    assert await cache.get("a") == "a"


async def test_what_is_in_use_is_read_again_before_it_is_too_old_and_nobody_waits() -> None:
    source = Source()
    many: list[list[str]] = []

    async def load_many(keys: Sequence[str]) -> dict[str, str]:
        many.append(list(keys))
        return {key: f"{key}:{source.value}" for key in keys}

    cache = FreshCache(source.load, max_age_s=0.2)
    warm = PeriodicTask("warm", partial(cache.warm, load_many), cache.warming_s)
    await warm.start()
    for key in ("a", "b", "a", "b"):
        await cache.get(key)
    source.value = "new"
    await asyncio.sleep(0.5)
    assert [await cache.get("a"), await cache.get("b")] == ["a:new", "b:new"]
    assert source.reads == 2, "the two first reads and no other"
    assert all(sorted(keys) == ["a", "b"] for keys in many)
    await warm.stop()


async def test_keeping_warm_never_serves_what_the_source_can_no_longer_tell() -> None:
    source = Source()

    async def load_many(keys: Sequence[str]) -> dict[str, str]:
        raise DatabaseUnavailable()

    cache = FreshCache(source.load, max_age_s=0.1)
    warm = PeriodicTask("warm", partial(cache.warm, load_many), cache.warming_s)
    await warm.start()
    await cache.get("a")
    await cache.get("a")
    source.value = "new"
    await asyncio.sleep(0.15)
    assert await cache.get("a") == "a:new"
    await warm.stop()


async def test_repeated_work_goes_on_after_a_fault_and_ends_when_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    turns = 0

    async def turn() -> None:
        nonlocal turns
        turns += 1
        if turns == 1:
            raise KeyError("unexpected")

    work = PeriodicTask("the work", turn, 0.001)
    await work.start()
    async with asyncio.timeout(5):
        while turns < 3:
            await asyncio.sleep(0.001)
    await work.stop()
    ended_at = turns
    await asyncio.sleep(0.01)
    assert turns == ended_at
    assert [entry.getMessage() for entry in caplog.records] == ["the work failed; it is tried again"]
