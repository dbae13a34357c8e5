"""Some sequences of a batch stay free for tenants that use few: a newcomer waits for no long answer."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack
from typing import Any

import pytest

from inference_worker.protocol.messages import Operation, Submit
from inference_worker.runtime.calls.sequence_shares import SequenceShares


class Calls:
    """Calls that hold sequences until they are ended, in the order in which they were started."""

    def __init__(self, limit: int) -> None:
        self.shares = SequenceShares(limit)
        self.start_order: list[str] = []
        self.waits: list[str] = []
        self._ends: dict[str, asyncio.Event] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}

    async def start(self, name: str, tenant: str, **fields: Any) -> None:
        body = {"messages": [], "cache_salt": tenant, **fields}
        self._ends[name] = asyncio.Event()
        self.tasks[name] = asyncio.create_task(self._run(name, body))
        await settle()

    async def _run(self, name: str, body: dict[str, Any]) -> None:
        operation = Operation.COMPLETIONS if "prompt" in body else Operation.CHAT_COMPLETIONS
        submit = Submit(
            request_id=name,
            attempt=1,
            reply_to="",
            operation=operation,
            model="m",
            streamed=False,
            body=json.dumps(body).encode(),
            correlation_id="",
            budget_s=1.0,
        )
        async with self.shares.occupy(submit, lambda: self.waits.append(name)):
            self.start_order.append(name)
            await self._ends[name].wait()

    async def end(self, name: str) -> None:
        self._ends[name].set()
        await settle()

    async def cancel(self, name: str) -> None:
        self.tasks[name].cancel()
        await settle()


async def settle() -> None:
    for _ in range(4):
        await asyncio.sleep(0)


@pytest.fixture
async def calls() -> Any:
    calls = Calls(16)
    async with AsyncExitStack() as stack:
        stack.callback(lambda: [task.cancel() for task in calls.tasks.values()])
        yield calls


@pytest.mark.criterion("3.7")
@pytest.mark.case("robustness.2")
async def test_a_tenant_alone_leaves_an_eighth_free_and_a_newcomer_starts_at_once(calls: Calls) -> None:
    for number in range(20):
        await calls.start(f"large {number}", "large")
    assert len(calls.start_order) == 14
    await calls.start("small", "small")
    assert calls.start_order[-1] == "small"
    assert calls.waits == [f"large {number}" for number in range(14, 20)]


async def test_two_tenants_converge_to_equal_parts(calls: Calls) -> None:
    for number in range(30):
        await calls.start(f"a {number}", "a", priority=10 + number)
    for number in range(30):
        await calls.start(f"b {number}", "b", priority=10 + number)
    for _ in range(20):
        running = [name for name in calls.start_order if not calls.tasks[name].done()]
        await calls.end(running[0])
    tenants = [name[0] for name in calls.start_order if not calls.tasks[name].done()]
    assert abs(tenants.count("a") - tenants.count("b")) <= 2


async def test_those_that_wait_start_by_priority_and_never_overtake_others_of_their_tenant(
    calls: Calls,
) -> None:
    await calls.start("first", "a", n=14)
    await calls.start("late", "a", priority=9)
    await calls.start("wide", "a", priority=1, n=10)
    await calls.start("narrow", "a", priority=2)
    await calls.start("other", "b")
    await calls.start("other again", "b", priority=3)
    assert calls.start_order == ["first", "other"]
    await calls.end("first")
    assert calls.start_order == ["first", "other", "wide", "narrow", "other again", "late"]


async def test_a_call_that_is_cancelled_while_it_waits_gives_up_its_place(calls: Calls) -> None:
    await calls.start("first", "a", n=14)
    await calls.start("wide", "a", priority=1, n=13)
    await calls.start("narrow", "a", priority=2)
    await calls.cancel("wide")
    await calls.end("first")
    assert calls.start_order == ["first", "narrow"]
    await calls.start("last", "a", n=13)
    assert calls.start_order[-1] == "last"


async def test_a_call_that_is_cancelled_as_it_is_granted_returns_its_sequences(calls: Calls) -> None:
    await calls.start("first", "a", n=14)
    await calls.start("second", "a", n=14)
    calls._ends["first"].set()
    await asyncio.sleep(0)  # the grant is set, the waiting task has not run
    await calls.cancel("second")
    await calls.start("third", "a", n=14)
    assert calls.start_order[-1] == "third"


async def test_each_prompt_of_a_list_counts_and_a_list_of_tokens_is_one(calls: Calls) -> None:
    await calls.start("tokens", "a", prompt=[1, 2, 3])
    await calls.start("list", "a", prompt=["x"] * 13)
    assert calls.start_order == ["tokens", "list"]
    await calls.start("one more", "a", prompt="x")
    assert calls.waits == ["one more"]


async def test_a_small_batch_has_no_reserve() -> None:
    calls = Calls(7)
    for number in range(20):
        await calls.start(str(number), "a")
    assert len(calls.start_order) == 20
    for task in calls.tasks.values():
        task.cancel()
