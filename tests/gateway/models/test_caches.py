"""The cache of keys and models, which never serves a value after its change was announced."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace

import pytest

from api.gateway.periodic import PeriodicTask
from api.gateway.state import caches
from api.gateway.state.caches import FreshCache
from api.openai.errors.service import DatabaseUnavailable
from tests.gateway.harness.conditions import eventually


class Source:
    """Counts loads. If ``release`` is set to an event, loads read the value and then wait for it."""

    def __init__(self) -> None:
        self.value = "old"
        self.load_count = 0
        self.release: asyncio.Event | None = None

    async def load(self, key: str) -> str:
        self.load_count += 1
        value = self.value
        if self.release is not None:
            await self.release.wait()
        return f"{key}:{value}"


@dataclass
class Clock:
    """A clock of the caches that only tests move, in seconds."""

    now: float = 1000.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of the caches."""
    clock = Clock()
    monkeypatch.setattr(caches, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


async def test_a_value_is_loaded_once_until_it_is_too_old(clock: Clock) -> None:
    source = Source()
    cache = FreshCache(source.load, max_age_s=5)
    assert [await cache.get("a"), await cache.get("a")] == ["a:old", "a:old"]
    assert source.load_count == 1
    source.value = "new"
    clock.now += 6
    assert await cache.get("a") == "a:new"


@pytest.mark.case("serving.17")
async def test_a_value_invalidated_while_it_loads_is_neither_cached_nor_returned() -> None:
    source = Source()
    cache = FreshCache(source.load, max_age_s=10)
    source.release = asyncio.Event()
    load = asyncio.create_task(cache.get("a"))
    await asyncio.sleep(0.01)
    source.value = "new"
    cache.invalidate("a")
    source.release.set()
    assert await load == "a:new"
    assert await cache.get("a") == "a:new"


async def test_concurrent_readers_share_a_load_even_if_one_is_cancelled() -> None:
    source = Source()
    source.release = asyncio.Event()
    cache = FreshCache(source.load, max_age_s=10)
    readers = [asyncio.create_task(cache.get("a")) for _ in range(5)]
    await asyncio.sleep(0.01)
    readers[0].cancel()
    source.release.set()
    results = await asyncio.gather(*readers, return_exceptions=True)
    assert isinstance(results[0], asyncio.CancelledError)
    assert results[1:] == ["a:old"] * 4
    assert source.load_count == 1


async def test_the_least_recently_used_entry_is_evicted() -> None:
    source = Source()
    cache = FreshCache(source.load, max_age_s=10, size=2)
    for key in ("a", "b", "a", "c"):
        await cache.get(key)
    load_count = source.load_count
    await cache.get("a")
    assert source.load_count == load_count
    await cache.get("b")
    assert source.load_count == load_count + 1


async def test_an_exception_is_not_cached() -> None:
    errors = [RuntimeError("unavailable")]

    async def load(key: str) -> str:
        if errors:
            raise errors.pop()
        return key

    cache = FreshCache(load, max_age_s=10)
    with pytest.raises(RuntimeError):
        await cache.get("a")
    assert await cache.get("a") == "a"


async def test_warming_reloads_used_entries_before_they_are_too_old(clock: Clock) -> None:
    source = Source()
    batches: list[list[str]] = []

    async def load_many(keys: Sequence[str]) -> dict[str, str]:
        batches.append(list(keys))
        return {key: f"{key}:{source.value}" for key in keys}

    cache = FreshCache(source.load, max_age_s=2)
    for key in ("a", "b", "a", "b"):
        await cache.get(key)
    source.value = "new"
    for _ in range(5):
        clock.now += cache.warming_s
        await cache.warm(load_many)
    assert [await cache.get("a"), await cache.get("b")] == ["a:new", "b:new"]
    assert source.load_count == 2, "only the first two loads were not part of a batch"
    assert [sorted(keys) for keys in batches] == [["a", "b"]] * 5


async def test_failed_warming_does_not_extend_the_age_of_an_entry(clock: Clock) -> None:
    source = Source()

    async def load_many(keys: Sequence[str]) -> dict[str, str]:
        raise DatabaseUnavailable()

    cache = FreshCache(source.load, max_age_s=2)
    await cache.get("a")
    await cache.get("a")
    source.value = "new"
    for _ in range(3):
        clock.now += cache.warming_s
        await cache.warm(load_many)
    assert await cache.get("a") == "a:new"


async def test_a_periodic_task_continues_after_an_exception_until_it_is_stopped(
    caplog: pytest.LogCaptureFixture,
) -> None:
    run_count = 0

    async def run() -> None:
        nonlocal run_count
        run_count += 1
        if run_count == 1:
            raise KeyError("unexpected")

    task = PeriodicTask("the task", run, 0.001)
    await task.start()
    await eventually(lambda: run_count >= 3)
    await task.stop()
    final_count = run_count
    await asyncio.sleep(0.01)
    assert run_count == final_count
    assert [entry.getMessage() for entry in caplog.records] == ["the task failed; it will be retried"]
