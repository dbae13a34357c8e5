"""A worker in the test process, with an engine that fails on demand."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
import redis

from inference_worker.client.interface import Call, Lost, StreamEvent
from inference_worker.client.relay_client import RelayClient
from inference_worker.protocol import codec, names
from inference_worker.protocol.messages import AttemptMetered, Failed, Finished, Operation
from inference_worker.runtime.process.worker import Worker
from inference_worker.runtime.settings import WorkerSettings
from inference_worker.transport.subscriber import Subscriber
from tests.faults import engines
from tests.gateway.harness.conditions import eventually
from tests.patience import PATIENCE_S


@pytest.fixture(scope="session")
def faulty_engine() -> Iterator[str]:
    """Return the address of a running ``tests.faulty_engine``."""
    with engines.faulty_engine() as url:
        yield url


class WorkerHarness:
    """A worker, a client to drive it, and the facts that the worker wrote."""

    def __init__(self, worker: Worker, client: RelayClient, redis_client: redis.Redis, url: str) -> None:
        self.worker, self.client, self.redis, self.engine_url = worker, client, redis_client, url
        self.task: asyncio.Task[None] | None = None

    def call(self, request_id: str, script: str, *, streamed: bool = True, budget_s: float = 30) -> Call:
        body: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": script}]}
        if streamed:
            body["stream"] = True
        return Call(
            request_id=request_id,
            correlation_id="c",
            operation=Operation.CHAT_COMPLETIONS,
            model="m",
            streamed=streamed,
            body=json.dumps(body).encode(),
            budget_s=budget_s,
            cost_tokens=10,
        )

    async def run(self, call: Call, *, cancel_after: int | None = None) -> list[StreamEvent]:
        stream = await self.client.submit(call, attempt=1)
        events: list[StreamEvent] = []
        while not (events and isinstance(events[-1], Failed | Finished | Lost)):
            events += await stream.next_events(10)
            if cancel_after is not None and len(events) > cancel_after:
                stream.cancel("test")
                cancel_after = None
        stream.close()
        return events

    async def facts(self, request_id: str) -> list[AttemptMetered]:
        """Return the facts of a request that has ended, once there is one."""
        async with asyncio.timeout(PATIENCE_S):
            while not (facts := self.stored_facts(request_id)):
                await asyncio.sleep(0.02)
        return facts

    def stored_facts(self, request_id: str) -> list[AttemptMetered]:
        """Return the facts of a request that are stored now."""
        entries: Any = self.redis.xrange(names.FACTS_STREAM)
        facts = [codec.decode_fact(fields[names.FACTS_FIELD]) for _, fields in entries]
        return [f for f in facts if isinstance(f, AttemptMetered) and f.request_id == request_id]

    def break_worker_listener(self) -> None:
        """Cut the connection on which the worker receives commands, and no other."""
        transport = self.worker._subscriber._connection._transport
        assert transport is not None
        transport.abort()

    async def until_open(self, count: int) -> None:
        """Wait until the engine works on so many requests."""

        async def is_so() -> bool:
            return bool((await self.engine_state())["open"] == count)

        await eventually(is_so)

    async def engine_state(self) -> dict[str, Any]:
        async with httpx.AsyncClient() as http:
            return dict((await http.get(self.engine_url + "/state")).json())


@pytest.fixture
async def bench(
    redis_url: str, redis_client: redis.Redis, faulty_engine: str
) -> AsyncIterator[WorkerHarness]:
    settings = WorkerSettings(
        CYLLM_REDIS_URL=redis_url,
        id="w1",
        model="m",
        engine="remote",
        engine_url=faulty_engine,
        engine_model="upstream",
        drain_timeout_s=3,
        max_requests=40,
    )
    subscriber = Subscriber(redis_url)
    worker, client = Worker(settings), RelayClient(redis_url, subscriber, "g1")
    test_bench = WorkerHarness(worker, client, redis_client, faulty_engine)
    test_bench.task = asyncio.create_task(worker.run())
    await subscriber.start()
    await client.start()
    async with asyncio.timeout(PATIENCE_S):
        while not any(heartbeat.state == "ready" for heartbeat in client.workers()):
            await asyncio.sleep(0.05)
    yield test_bench
    await client.stop()
    await subscriber.stop()
    worker.request_stop()
    await test_bench.task
