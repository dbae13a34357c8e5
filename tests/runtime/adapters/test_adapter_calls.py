"""Requests with an adapter: loaded first, under the engine's name for it, and refused with a typed fault."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from typing_extensions import override

from inference_worker.client.interface import Call, NoWorkerError
from inference_worker.client.routing import AFFINITY_TOKENS, Router, serves
from inference_worker.protocol.faults import AdapterFault
from inference_worker.protocol.messages import (
    AdapterRef,
    Event,
    Failed,
    FailureKind,
    Finished,
    Heartbeat,
    Operation,
    Outcome,
    Submit,
)
from inference_worker.runtime.adapters.errors import AdapterRejectedError, AdapterUnavailableError
from inference_worker.runtime.calls.engine import Engine, Message, Receive, Send
from inference_worker.runtime.calls.engine_call import EngineCall
from inference_worker.runtime.calls.meter import CallMeter
from tests.heartbeats import ready_heartbeat
from tests.runtime.conftest import WorkerHarness

REF = AdapterRef(name="ft:m:acme::1", base_model="m", sha256="ab" * 32, rank=8)


class FakeEngine(Engine):
    """Answers with the body that it got. ``load_s``: time to load an adapter, which may raise ``error``."""

    max_model_len, max_lora_rank, dtype = 0, 16, "float32"
    operations = tuple(Operation)
    sampling_defaults: dict[str, float] = {}
    template_variables = None
    template_tokens = None
    template_option_tokens = None
    fast_paths: dict[Operation, Any] = {}
    loaded_adapters = ()
    kv_cache_use = None
    is_dead = False
    running_requests = 0

    def __init__(self) -> None:
        self.load_s = 0.0
        self.error: Exception | None = None
        self.users = self.loads = 0
        self.bodies: list[dict[str, Any]] = []
        self.status = 200

    @override
    def adapter_model(self, ref: AdapterRef, timeout_s: float) -> AbstractAsyncContextManager[str]:
        @asynccontextmanager
        async def use() -> AsyncIterator[str]:
            self.loads += 1
            await asyncio.sleep(self.load_s)
            if self.error is not None:
                raise self.error
            self.users += 1
            try:
                yield f"adapter@{ref.sha256}"
            finally:
                self.users -= 1

        return use()

    def remove_adapter(self, sha256: str) -> None: ...

    @override
    async def app(self, scope: Message, receive: Receive, send: Send) -> None:
        self.bodies.append(json.loads((await receive())["body"]))
        await send({"type": "http.response.start", "status": self.status, "headers": []})
        await send({"type": "http.response.body", "body": json.dumps({"model": "m"}).encode()})

    def count_partial(self, request_id: str, meter: CallMeter) -> None: ...

    async def wait_for_failure(self) -> str:
        raise NotImplementedError


def submit(operation: Operation = Operation.CHAT_COMPLETIONS, adapter: AdapterRef | None = REF) -> Submit:
    body = {"model": REF.name, "messages": [{"role": "user", "content": "\u00fc \ud83d\ude00"}], "n": 1}
    return Submit(
        request_id="req_1",
        attempt=1,
        reply_to="g",
        operation=operation,
        model=REF.name,
        streamed=False,
        body=json.dumps(body).encode(),
        correlation_id="c",
        budget_s=30,
        adapter=adapter,
    )


async def run(engine: FakeEngine, message: Submit) -> tuple[Event, EngineCall]:
    events: list[Event] = []
    call = EngineCall(message, engine, events.append)
    await call.run()
    return events[-1], call


async def test_the_engine_gets_its_own_name_of_the_adapter_and_nothing_else_changes() -> None:
    engine = FakeEngine()
    last, _ = await run(engine, submit())
    assert isinstance(last, Finished)
    (body,) = engine.bodies
    assert body == {**json.loads(submit().body), "model": f"adapter@{REF.sha256}"}
    assert engine.users == 0, "the adapter is free again"


@pytest.mark.parametrize("operation", [Operation.TOKENIZE, Operation.DETOKENIZE])
async def test_tokens_are_counted_with_the_base_model_without_a_load(operation: Operation) -> None:
    engine = FakeEngine()
    await run(engine, submit(operation))
    assert engine.bodies[0]["model"] == "m"
    assert engine.loads == 0


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (AdapterUnavailableError("no such file"), FailureKind.REFUSED),
        (AdapterRejectedError("the engine refused it: DoRA"), FailureKind.ENGINE),
    ],
)
async def test_an_adapter_that_cannot_be_used_is_a_typed_fault_and_the_engine_gets_no_request(
    error: Exception, kind: FailureKind
) -> None:
    engine = FakeEngine()
    engine.error = error
    last, call = await run(engine, submit())
    assert isinstance(last, Failed)
    assert (last.kind, last.fault) == (kind, AdapterFault(reason=str(error)))
    assert call.outcome is Outcome.FAILED
    assert engine.bodies == []


async def test_a_request_that_is_cancelled_before_its_task_has_started_does_not_reach_the_engine() -> None:
    engine = FakeEngine()
    events: list[Event] = []
    call = EngineCall(submit(), engine, events.append)
    call.cancel("test")
    await call.run()
    assert engine.bodies == []
    (last,) = events
    assert isinstance(last, Failed)
    assert (last.kind, call.outcome) == (FailureKind.CANCELLED, Outcome.CANCELLED)


async def test_a_request_that_is_cancelled_while_its_adapter_loads_ends_at_once() -> None:
    engine = FakeEngine()
    engine.load_s = 30
    events: list[Event] = []
    call = EngineCall(submit(), engine, events.append)
    task = asyncio.create_task(call.run())
    await asyncio.sleep(0.05)
    start = time.monotonic()
    call.cancel("test")
    await task
    assert time.monotonic() - start < 1
    (last,) = events
    assert isinstance(last, Failed)
    assert last.kind is FailureKind.CANCELLED
    assert engine.bodies == []


# ---- a worker with a remote engine ----


async def test_a_remote_engine_takes_no_request_with_an_adapter(bench: WorkerHarness) -> None:
    call = replace(bench.call("req_adapter", "pieces=1"), adapter=REF)
    with pytest.raises(NoWorkerError):
        await bench.client.submit(call, attempt=1)


async def test_the_platforms_own_requests_are_not_metered(bench: WorkerHarness) -> None:
    await bench.run(replace(bench.call("req_own", "pieces=2"), is_metered=False))
    await bench.run(bench.call("req_tenant", "pieces=2"))
    assert len(await bench.facts("req_tenant")) == 1
    assert bench.stored_facts("req_own") == []


# ---- routing ----


def heartbeat(worker_id: str, *, rank: int = 16, adapters: tuple[str, ...] = ()) -> Heartbeat:
    return ready_heartbeat("m", worker_id=worker_id, channel=worker_id, max_lora_rank=rank, adapters=adapters)


def adapter_call(adapter: AdapterRef | None) -> Call:
    return Call(
        request_id="r",
        correlation_id="c",
        operation=Operation.CHAT_COMPLETIONS,
        model=adapter.name if adapter else "m",
        streamed=False,
        body=b"",
        budget_s=1,
        cost_tokens=100,
        adapter=adapter,
    )


@pytest.mark.case("training.20")
def test_a_worker_serves_an_adapter_of_its_model_up_to_its_rank() -> None:
    worker = heartbeat("w")
    assert serves(worker, REF.name, REF)
    assert not serves(heartbeat("w", rank=4), REF.name, REF)
    other = AdapterRef(name="x", base_model="other", sha256="cd" * 32, rank=8)
    assert not serves(worker, "x", other)
    assert serves(worker, "m", None)
    assert not serves(worker, REF.name, None)


def test_an_adapter_stays_with_the_worker_that_has_it_until_that_has_much_more_to_do() -> None:
    router, call = Router(), adapter_call(REF)
    workers = [heartbeat("cold"), heartbeat("warm", adapters=(REF.sha256,)), heartbeat("small", rank=4)]

    def best(call: Call) -> str:
        worker = router.best_worker(workers, call, (), ())
        assert worker is not None
        return worker.worker_id

    router.add_tokens("warm", AFFINITY_TOKENS - 1)
    assert best(call) == "warm"
    assert best(adapter_call(None)) == "cold", "requests for the base model go to the least loaded"
    router.add_tokens("warm", 2)
    assert best(call) == "cold"
