"""Loaded adapters: the least recently used gives way, one in use never does, and each is loaded once."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import pytest

from inference_worker.protocol.messages import AdapterRef
from inference_worker.runtime.adapters.errors import AdapterRejectedError, AdapterUnavailableError
from inference_worker.runtime.adapters.pool import AdapterEngine, AdapterPool, internal_name
from tests.gateway.harness.conditions import eventually


class ScriptedEngine(AdapterEngine):
    """Counts loads, and fails if more adapters are loaded than it can hold, or one twice."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.names: set[str] = set()
        self.loads: Counter[str] = Counter()
        self.load_s = 0.0
        self.error: Exception | None = None

    async def load(self, ref: AdapterRef, name: str) -> None:
        self.loads[ref.sha256] += 1
        await asyncio.sleep(self.load_s)
        if self.error is not None:
            raise self.error
        assert name not in self.names, "loaded twice"
        self.names.add(name)
        assert len(self.names) <= self.capacity, "more than the engine can hold"

    async def unload(self, name: str) -> None:
        await asyncio.sleep(self.load_s)
        self.names.remove(name)


def ref(number: int) -> AdapterRef:
    return AdapterRef(name=f"ft:{number}", base_model="m", sha256=f"{number:064x}", rank=8)


@pytest.fixture
def engine() -> ScriptedEngine:
    return ScriptedEngine(2)


@pytest.fixture
def pool(engine: ScriptedEngine) -> AdapterPool:
    return AdapterPool(engine, engine.capacity)


async def use(pool: AdapterPool, number: int, seconds: float = 0.0, timeout_s: float = 5.0) -> None:
    async with pool.use(ref(number), timeout_s) as name:
        assert name == internal_name(ref(number).sha256)
        await asyncio.sleep(seconds)


async def test_concurrent_requests_load_an_adapter_once(pool: AdapterPool, engine: ScriptedEngine) -> None:
    engine.load_s = 0.05
    await asyncio.gather(*(use(pool, 1) for _ in range(10)))
    assert engine.loads[ref(1).sha256] == 1
    assert pool.digests == (ref(1).sha256,)


async def test_the_least_recently_used_gives_way(pool: AdapterPool, engine: ScriptedEngine) -> None:
    for number in (1, 2, 1, 3):
        await use(pool, number)
    assert pool.digests == (ref(3).sha256, ref(1).sha256)
    assert engine.names == {internal_name(digest) for digest in pool.digests}


async def test_an_adapter_in_use_never_gives_way(pool: AdapterPool, engine: ScriptedEngine) -> None:
    async with pool.use(ref(1), 5):
        for number in range(2, 6):
            await use(pool, number)
            assert internal_name(ref(1).sha256) in engine.names


async def test_a_request_waits_until_another_adapter_is_free(
    pool: AdapterPool, engine: ScriptedEngine
) -> None:
    async with pool.use(ref(1), 5), pool.use(ref(2), 5):
        waiting = asyncio.create_task(use(pool, 3))
        await asyncio.sleep(0.05)
        assert not waiting.done()
        with pytest.raises(AdapterUnavailableError, match="not loaded within"):
            await use(pool, 4, timeout_s=0.1)
    await waiting
    assert ref(3).sha256 in pool.digests


async def test_a_failed_load_fails_its_requests_and_is_tried_again_later(
    pool: AdapterPool, engine: ScriptedEngine
) -> None:
    engine.load_s, engine.error = 0.02, AdapterRejectedError("bad rank")
    results = await asyncio.gather(*(use(pool, 1) for _ in range(3)), return_exceptions=True)
    assert [str(result) for result in results] == ["bad rank"] * 3
    assert pool.digests == ()
    engine.error = None
    await use(pool, 1)
    assert engine.loads[ref(1).sha256] == 2


async def test_a_request_that_is_cancelled_ends_no_load_and_holds_no_adapter(
    pool: AdapterPool, engine: ScriptedEngine
) -> None:
    engine.load_s = 0.1
    first, second = asyncio.create_task(use(pool, 1)), asyncio.create_task(use(pool, 1))
    await asyncio.sleep(0.02)
    first.cancel()
    await second
    assert engine.loads[ref(1).sha256] == 1
    for number in (2, 3, 4):
        await use(pool, number)
    assert ref(1).sha256 not in pool.digests, "the cancelled request does not use it any more"


async def test_a_deleted_adapter_is_unloaded_once_no_request_uses_it(
    pool: AdapterPool, engine: ScriptedEngine
) -> None:
    async with pool.use(ref(1), 5):
        pool.remove(ref(1).sha256)
        assert internal_name(ref(1).sha256) in engine.names
    await eventually(lambda: not engine.names)
    pool.remove(ref(1).sha256)
    pool.remove("unknown")


async def test_an_adapter_deleted_while_it_loads_is_unloaded_after_its_requests(
    pool: AdapterPool, engine: ScriptedEngine
) -> None:
    engine.load_s = 0.05
    running = asyncio.create_task(use(pool, 1))
    await asyncio.sleep(0.01)
    pool.remove(ref(1).sha256)
    await running
    await eventually(lambda: not engine.names)


async def test_a_request_during_the_unload_loads_the_adapter_again(
    pool: AdapterPool, engine: ScriptedEngine
) -> None:
    await use(pool, 1)
    engine.load_s = 0.05
    pool.remove(ref(1).sha256)
    await use(pool, 1)
    assert engine.names == {internal_name(ref(1).sha256)}


async def test_many_requests_for_many_adapters_with_cancellations_and_deletions() -> None:
    engine = ScriptedEngine(3)
    pool = AdapterPool(engine, 3)
    engine.load_s = 0.001
    source = random.Random(7)

    async def client() -> None:
        for _ in range(30):
            number = source.randrange(8)
            task = asyncio.create_task(use(pool, number, source.random() * 0.004, timeout_s=10))
            if source.random() < 0.2:
                await asyncio.sleep(source.random() * 0.004)
                task.cancel()
            if source.random() < 0.2:
                pool.remove(ref(source.randrange(8)).sha256)
            await asyncio.gather(task, return_exceptions=True)
            assert task.cancelled() or task.exception() is None

    await asyncio.gather(*(client() for _ in range(12)))
    await eventually(lambda: engine.names == {internal_name(digest) for digest in pool.digests})
    assert all(entry.users == 0 for entry in pool._entries.values())
