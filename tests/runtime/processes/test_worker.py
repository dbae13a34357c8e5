"""The worker's side of the relay: events, metering, cancellation, refusals, draining."""

from __future__ import annotations

import asyncio
import itertools
import json
from dataclasses import replace
from typing import Any

import pytest

from inference_worker.client.interface import Lost, NoWorkerError, StreamEvent, TransportError
from inference_worker.protocol import codec
from inference_worker.protocol.faults import ContextOverflow, RequestFault, ResponseTooLarge, UnknownTokenId
from inference_worker.protocol.messages import (
    Accepted,
    Delta,
    Failed,
    FailureKind,
    Finished,
    Frame,
    Outcome,
)
from inference_worker.runtime.calls.engine_call import MAX_RESPONSE_BYTES
from tests.gateway.harness.conditions import eventually
from tests.patience import PATIENCE_S
from tests.runtime.conftest import WorkerHarness


def _text(data: bytes) -> str:
    events = [json.loads(part[6:]) for part in data.split(b"\n\n") if part.startswith(b"data: {")]
    return "".join(e["choices"][0]["delta"].get("content", "") for e in events if e["choices"])


async def test_a_stream_is_complete_carries_the_served_models_name_and_is_metered_once(
    bench: WorkerHarness,
) -> None:
    events = await bench.run(bench.call("req_a", "pieces=5"))
    data = b"".join(event.data for event in events if isinstance(event, Delta))
    assert isinstance(events[0], Accepted)
    assert _text(data) == "w0 w1 w2 w3 w4 "
    assert data.endswith(b"data: [DONE]\n\n")
    assert b'"model":"m"' in data
    assert b"usage" not in data, "the client did not ask for usage"
    last = events[-1]
    assert isinstance(last, Finished)
    assert (last.meter.prompt_tokens, last.meter.completion_tokens) == (7, 5)
    (fact,) = await bench.facts("req_a")
    assert (fact.outcome, fact.meter.completion_tokens) == (Outcome.COMPLETED, 5)


async def test_a_plain_call_has_one_body_and_its_usage(bench: WorkerHarness) -> None:
    events = await bench.run(bench.call("req_b", "pieces=4", streamed=False))
    last = events[-1]
    assert isinstance(last, Finished)
    assert json.loads(last.data)["choices"][0]["message"]["content"] == "w0 w1 w2 w3 "
    assert last.meter.completion_tokens == 4


@pytest.mark.parametrize("streamed", [True, False])
async def test_a_cancel_stops_the_engine(bench: WorkerHarness, streamed: bool) -> None:
    call = bench.call("req_c", "pieces=10000 gap=0.02", streamed=streamed)
    stream = await bench.client.submit(call, attempt=1)
    await bench.until_open(1)
    while streamed and not any(isinstance(event, Delta) for event in await stream.next_events(PATIENCE_S)):
        pass
    stream.cancel("test")
    await bench.until_open(0)
    stream.close()
    (fact,) = await bench.facts("req_c")
    assert fact.outcome is Outcome.CANCELLED
    if streamed:
        assert 0 < fact.meter.completion_tokens < 5000


async def test_closing_a_stream_early_cancels_it(bench: WorkerHarness) -> None:
    stream = await bench.client.submit(bench.call("req_d", "pieces=10000 gap=0.02"), attempt=1)
    await stream.next_events(PATIENCE_S)
    stream.close()
    await bench.until_open(0)
    (fact,) = await bench.facts("req_d")
    assert fact.outcome is Outcome.CANCELLED


@pytest.mark.parametrize("streamed", [True, False])
async def test_calls_of_a_dead_gateway_stop(bench: WorkerHarness, streamed: bool) -> None:
    await bench.client.submit(bench.call("req_e", "hang_first", streamed=streamed), attempt=1)
    await bench.until_open(1)
    await bench.client._layer._subscriber.stop()  # as after kill -9: the connection closes without a Cancel
    await bench.until_open(0)
    (fact,) = await bench.facts("req_e")
    assert fact.outcome is Outcome.CANCELLED


@pytest.mark.parametrize(
    ("script", "kind", "status", "fault"),
    [
        ("error_400", FailureKind.REQUEST, 400, ContextOverflow(limit_tokens=16)),
        ("error_500", FailureKind.ENGINE, 500, None),
        ("refuse_late", FailureKind.REQUEST, 400, UnknownTokenId(token_id=9)),
        ("error_mid pieces=4", FailureKind.ENGINE, 500, None),
        ("cut_mid pieces=4", FailureKind.ENGINE, 500, None),
    ],
)
async def test_an_engine_error_is_one_failure(
    bench: WorkerHarness, script: str, kind: FailureKind, status: int, fault: RequestFault | None
) -> None:
    events = await bench.run(bench.call("req_f", script))
    last = events[-1]
    assert isinstance(last, Failed)
    assert (last.kind, last.status, last.fault) == (kind, status, fault)
    assert not any(b"error" in event.data for event in events if isinstance(event, Delta))
    assert len(await bench.facts("req_f")) == 1


async def test_the_worker_stops_an_engine_that_exceeds_the_budget(
    bench: WorkerHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inference_worker.runtime.process.call_table.OVERTIME_S", 0.1)
    events = await bench.run(bench.call("req_g", "hang_first", budget_s=0.2))
    assert isinstance(events[-1], Failed)
    assert events[-1].detail == "out of time"


async def test_a_full_worker_refuses_with_the_reason(bench: WorkerHarness) -> None:
    streams = [await bench.client.submit(bench.call(f"req_h{n}", "hang_first"), attempt=1) for n in range(40)]
    events = await bench.run(bench.call("req_h40", "pieces=1"))
    assert isinstance(events[-1], Failed)
    assert (events[-1].kind, events[-1].detail) == (FailureKind.REFUSED, "worker is full")
    for stream in streams:
        stream.close()


async def test_a_draining_worker_finishes_its_calls_and_takes_no_new_ones(bench: WorkerHarness) -> None:
    running = asyncio.create_task(bench.run(bench.call("req_i", "pieces=50 gap=0.02")))
    await asyncio.sleep(0.3)
    bench.worker.request_stop()
    await asyncio.sleep(0.7)
    with pytest.raises(NoWorkerError):
        await bench.client.submit(bench.call("req_j", "pieces=1"), attempt=1)
    assert isinstance((await running)[-1], Finished)
    assert bench.task is not None
    await asyncio.wait_for(bench.task, PATIENCE_S)
    (fact,) = await bench.facts("req_i")
    assert fact.outcome is Outcome.COMPLETED


async def test_facts_are_written_after_redis_has_closed_connections(bench: WorkerHarness) -> None:
    call = asyncio.create_task(bench.run(bench.call("req_k", "pieces=30 gap=0.02", streamed=False)))
    await asyncio.sleep(0.3)
    for _ in range(3):
        bench.redis.client_kill_filter(_type="normal", skipme=True)
        await asyncio.sleep(0.1)
    await asyncio.wait([call], timeout=3)
    call.cancel()
    await asyncio.sleep(1)
    assert len(await bench.facts("req_k")) >= 1


async def test_a_malformed_body_affects_no_other_request(bench: WorkerHarness) -> None:
    call = bench.call("req_l", "pieces=2")
    broken_call = replace(call, body=b'{"stream": true, "x": -' + b"9" * 5000 + b"}")
    running = asyncio.create_task(bench.run(bench.call("req_m", "pieces=20 gap=0.02")))
    await asyncio.sleep(0.1)
    assert isinstance((await bench.run(broken_call))[-1], Failed)
    assert isinstance((await running)[-1], Finished)
    assert isinstance((await bench.run(bench.call("req_n", "pieces=1")))[-1], Finished)


async def test_a_worker_that_lost_its_connection_fails_its_calls_and_takes_new_ones(
    bench: WorkerHarness,
) -> None:
    stream = await bench.client.submit(bench.call("req_o", "hang_first"), attempt=1)
    await bench.until_open(1)
    bench.break_worker_listener()
    events: list[StreamEvent] = []
    while not events or not isinstance(events[-1], Lost | Failed):
        events += await stream.next_events(5)
    stream.close()
    await bench.until_open(0)
    numbers = itertools.count()

    async def is_served() -> bool:
        try:
            events = await bench.run(bench.call(f"req_p{next(numbers)}", "pieces=2"))
        except (NoWorkerError, TransportError):  # it has not connected again
            return False
        return isinstance(events[-1], Finished)

    await eventually(is_served)


async def test_the_gateway_cancels_an_attempt_that_it_does_not_know(bench: WorkerHarness) -> None:
    stream = await bench.client.submit(bench.call("req_q", "pieces=10000 gap=0.02"), attempt=1)
    await stream.next_events(PATIENCE_S)
    bench.client._remove(stream)  # as after a broken connection: no Cancel was sent
    await bench.until_open(0)


async def test_an_event_that_cannot_be_encoded_ends_its_lane_and_the_next_call_has_a_new_one(
    bench: WorkerHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode = codec.encode
    failures = [1]

    def encode_after_one_failure(message: Any) -> bytes:
        if isinstance(message, Frame) and message.events and failures:
            failures.pop()
            raise OverflowError("integer out of range")
        return encode(message)

    monkeypatch.setattr(codec, "encode", encode_after_one_failure)
    stream = await bench.client.submit(bench.call("req_lane", "pieces=10000 gap=0.02"), attempt=1)
    await eventually(lambda: not failures)
    await bench.until_open(0)
    events: list[StreamEvent] = []
    async with asyncio.timeout(PATIENCE_S):
        while not events or not isinstance(events[-1], Lost | Failed | Finished):
            events += await stream.next_events(1)
    assert isinstance(events[-1], Lost), "the client must notice the missing events"
    stream.close()
    assert isinstance((await bench.run(bench.call("req_next", "pieces=2")))[-1], Finished)


async def test_a_lane_closes_when_its_gateway_has_no_calls_and_reopens(
    bench: WorkerHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inference_worker.runtime.calls.frame_sender.KEEPALIVE_INTERVAL_S", 0.05)
    for number in range(3):
        assert isinstance((await bench.run(bench.call(f"req_r{number}", "pieces=2")))[-1], Finished)
        await asyncio.sleep(0.3)


async def test_calls_without_output_are_refused_when_the_worker_stops_so_others_can_serve_them(
    bench: WorkerHarness,
) -> None:
    silent = await bench.client.submit(bench.call("req_s", "hang_first", streamed=False), attempt=1)
    streaming = await bench.client.submit(bench.call("req_t", "pieces=9999 gap=0.05"), attempt=1)
    await asyncio.sleep(0.3)
    bench.worker.request_stop()
    kinds = []
    for stream in (silent, streaming):
        events: list[StreamEvent] = []
        while not events or not isinstance(events[-1], Failed):
            events += await stream.next_events(10)
        kinds.append(events[-1].kind)
        stream.close()
    assert kinds == [FailureKind.REFUSED, FailureKind.CANCELLED]


async def test_a_response_too_large_for_the_relay_fails_and_large_ones_disconnect_nobody(
    bench: WorkerHarness,
) -> None:
    other = await bench.client.submit(bench.call("req_other", "hang_mid"), attempt=1)
    large = [bench.call(f"req_large{number}", "pieces=1500000", streamed=False) for number in range(5)]
    too_large = bench.call("req_too_large", "pieces=2500000", streamed=False)
    *completions, rejection = [
        events[-1] for events in await asyncio.gather(*map(bench.run, [*large, too_large]))
    ]
    for end in completions:
        assert isinstance(end, Finished)
        text = json.loads(end.data)["choices"][0]["message"]["content"]
        assert text.endswith(" w1499999 ")
        assert len(end.data) > 12_000_000
    assert isinstance(rejection, Failed)
    assert (rejection.kind, rejection.status) == (FailureKind.REQUEST, 413)
    assert isinstance(rejection.fault, ResponseTooLarge)
    assert rejection.fault.response_bytes > rejection.fault.limit_bytes == MAX_RESPONSE_BYTES
    (fact,) = await bench.facts("req_too_large")
    assert fact.meter.completion_tokens == 2_500_000, "generated tokens are charged"
    assert not any(isinstance(event, Lost) for event in await other.next_events(1))
    other.close()
