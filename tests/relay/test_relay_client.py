"""The relay client on the real transport, with a worker whose frames the tests write."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

import pytest
import redis

from inference_worker.client import routing
from inference_worker.client.interface import (
    Call,
    LossCause,
    Lost,
    NoWorkerError,
    StreamEvent,
    TransportError,
)
from inference_worker.client.relay_client import RelayClient
from inference_worker.client.relay_stream import RelayStream
from inference_worker.protocol import codec, names
from inference_worker.protocol.messages import (
    Accepted,
    Cancel,
    Command,
    Delta,
    Event,
    Failed,
    FailureKind,
    Finished,
    Frame,
    Meter,
    Operation,
    Submit,
    WorkerState,
)
from inference_worker.transport.channel_layer import PubSubChannelLayer
from inference_worker.transport.subscriber import Subscriber
from tests.heartbeats import ready_heartbeat
from tests.patience import PATIENCE_S


@dataclass
class HandWorker:
    """A worker whose every frame is written by the test."""

    subscriber: Subscriber
    layer: PubSubChannelLayer
    redis_client: redis.Redis
    worker_id: str
    boot: str = "b1"
    sequence: int = 0

    @classmethod
    async def start(cls, redis_url: str, redis_client: redis.Redis, worker_id: str) -> HandWorker:
        subscriber = Subscriber(redis_url)
        await subscriber.start()
        layer = PubSubChannelLayer(redis_url, subscriber)
        await layer.start()
        return cls(subscriber, layer, redis_client, worker_id)

    async def stop(self) -> None:
        await self.layer.stop()
        await self.subscriber.stop()

    @property
    def channel(self) -> str:
        return names.worker_channel(self.worker_id, self.boot)

    async def announce(
        self, state: WorkerState = WorkerState.READY, operations: tuple[str, ...] = ()
    ) -> None:
        beat = ready_heartbeat(
            "m",
            worker_id=self.worker_id,
            boot=self.boot,
            channel=self.channel,
            state=state,
            written_at=time.time(),
            operations=operations,
        )
        await self.layer.open(self.channel)
        self.redis_client.set(names.worker_key(self.worker_id), codec.encode(beat), ex=60)
        self.redis_client.zadd(names.WORKER_INDEX, {self.worker_id: time.time()})

    async def command(self) -> Command:
        message = await asyncio.wait_for(self.layer.receive(self.channel), PATIENCE_S)
        return codec.decode_command(message["data"])

    async def send(self, reply_to: str, *events: Event, skip: int = 0, repeat: int = 1) -> None:
        self.sequence += skip
        frame = Frame(worker_id=self.worker_id, lane=self.boot, sequence=self.sequence, events=events)
        for _ in range(repeat):
            await self.layer.send(reply_to, {"type": "relay.frame", "data": codec.encode(frame)})
        self.sequence += 1


def accepted(index: int = 0, attempt: int = 1) -> Accepted:
    return Accepted(request_id="req_1", attempt=attempt, index=index)


def delta(index: int, data: bytes = b"x", attempt: int = 1) -> Delta:
    return Delta(request_id="req_1", attempt=attempt, index=index, data=data)


def finished(index: int, attempt: int = 1) -> Finished:
    return Finished(request_id="req_1", attempt=attempt, index=index, data=b"", meter=Meter())


def cancelled(request_id: str) -> Failed:
    return Failed(
        request_id=request_id,
        attempt=1,
        index=1,
        kind=FailureKind.CANCELLED,
        status=0,
        detail="closed",
        meter=Meter(),
    )


CALL = Call(
    request_id="req_1",
    correlation_id="c",
    operation=Operation.CHAT_COMPLETIONS,
    model="m",
    streamed=True,
    body=b"{}",
    budget_s=60,
    cost_tokens=10,
)


@pytest.fixture
async def worker(redis_url: str, redis_client: redis.Redis) -> AsyncIterator[HandWorker]:
    worker = await HandWorker.start(redis_url, redis_client, "w1")
    await worker.announce()
    yield worker
    await worker.stop()


@pytest.fixture
async def client(redis_url: str, worker: HandWorker) -> AsyncIterator[RelayClient]:
    subscriber = Subscriber(redis_url)
    client = RelayClient(redis_url, subscriber, "g1")
    await subscriber.start()
    await client.start()
    async with asyncio.timeout(PATIENCE_S):
        while not client.workers():
            await asyncio.sleep(0.02)
    yield client
    await client.stop()
    await subscriber.stop()


async def _collect(stream: RelayStream, timeout_s: float = PATIENCE_S) -> list[StreamEvent]:
    events: list[StreamEvent] = []
    while not (events and isinstance(events[-1], Finished | Lost)):
        batch = await stream.next_events(timeout_s)
        assert batch, f"no event within {timeout_s} s after {events}"
        events += batch
    return events


async def test_events_arrive_in_order_and_a_repeated_frame_counts_once(
    client: RelayClient, worker: HandWorker
) -> None:
    stream = await client.submit(CALL, attempt=1)
    submit = await worker.command()
    assert isinstance(submit, Submit)
    assert (submit.request_id, submit.attempt, submit.body) == ("req_1", 1, b"{}")
    await worker.send(submit.reply_to, accepted(), delta(1, b"a"), repeat=2)
    await worker.send(submit.reply_to, delta(2, b"b"), repeat=2)
    await worker.send(submit.reply_to, finished(3))
    events = await _collect(stream)
    assert [event.data for event in events if isinstance(event, Delta)] == [b"a", b"b"]
    stream.close()


async def test_a_missing_event_ends_the_stream_as_lost_and_stops_the_worker(
    client: RelayClient, worker: HandWorker
) -> None:
    stream = await client.submit(CALL, attempt=1)
    submit = await worker.command()
    assert isinstance(submit, Submit)
    await worker.send(submit.reply_to, accepted(), delta(2))
    assert (await _collect(stream))[-1] == Lost(LossCause.EVENTS_LOST)
    assert isinstance(await worker.command(), Cancel)
    stream.close()


async def test_a_missing_frame_ends_the_streams_of_that_worker(
    client: RelayClient, worker: HandWorker
) -> None:
    stream = await client.submit(CALL, attempt=1)
    submit = await worker.command()
    assert isinstance(submit, Submit)
    await worker.send(submit.reply_to, accepted())
    await worker.send(submit.reply_to, skip=1)
    assert (await _collect(stream))[-1] == Lost(LossCause.EVENTS_LOST)
    stream.close()


async def test_events_of_an_older_attempt_do_not_reach_a_newer_one(
    client: RelayClient, worker: HandWorker
) -> None:
    old = await client.submit(CALL, attempt=1)
    submit = await worker.command()
    assert isinstance(submit, Submit)
    old.close()
    new = await client.submit(CALL, attempt=2)
    await worker.send(submit.reply_to, accepted(), delta(1, b"old"))
    await worker.send(submit.reply_to, accepted(attempt=2), delta(1, b"new", 2), finished(2, 2))
    events = await _collect(new)
    assert [event.data for event in events if isinstance(event, Delta)] == [b"new"]
    new.close()


async def test_the_death_of_a_worker_is_noticed_within_two_seconds(
    client: RelayClient, worker: HandWorker
) -> None:
    stream = await client.submit(CALL, attempt=1)
    start = time.monotonic()
    await worker.stop()
    assert (await _collect(stream))[-1] == Lost(LossCause.WORKER_DIED)
    assert time.monotonic() - start < 2
    stream.close()


async def test_a_call_for_a_dead_worker_goes_to_a_live_one(
    client: RelayClient, worker: HandWorker, redis_url: str, redis_client: redis.Redis
) -> None:
    other = await HandWorker.start(redis_url, redis_client, "w2")
    await other.announce()
    await worker.stop()
    async with asyncio.timeout(PATIENCE_S):
        while len(client.workers()) < 2:
            await asyncio.sleep(0.02)
    stream = await client.submit(CALL, attempt=1)
    assert stream.worker_id == "w2"
    stream.close()
    await other.stop()


async def test_a_model_without_a_worker_raises_no_worker_error(client: RelayClient) -> None:
    with pytest.raises(NoWorkerError):
        await client.submit(CALL, attempt=1, excluded_workers=["w1"])


async def test_a_call_for_one_worker_goes_to_no_other(client: RelayClient, worker: HandWorker) -> None:
    with pytest.raises(NoWorkerError):
        await client.submit(replace(CALL, worker_id="w2"), attempt=1)
    stream = await client.submit(replace(CALL, worker_id="w1"), attempt=1)
    assert stream.worker_id == "w1"
    stream.close()


async def test_a_draining_worker_gets_no_calls(client: RelayClient, worker: HandWorker) -> None:
    await worker.announce(WorkerState.DRAINING)
    async with asyncio.timeout(PATIENCE_S):
        while client.workers()[0].state is not WorkerState.DRAINING:
            await asyncio.sleep(0.02)
    with pytest.raises(NoWorkerError):
        await client.submit(CALL, attempt=1)


async def test_calls_go_to_the_worker_with_fewer_outstanding_tokens(
    client: RelayClient, worker: HandWorker, redis_url: str, redis_client: redis.Redis
) -> None:
    other = await HandWorker.start(redis_url, redis_client, "w2")
    await other.announce()
    async with asyncio.timeout(PATIENCE_S):
        while len(client.workers()) < 2:
            await asyncio.sleep(0.02)
    streams = [
        await client.submit(
            Call(f"req_{n}", "c", Operation.COMPLETIONS, "m", True, b"{}", 60, cost), attempt=1
        )
        for n, cost in enumerate((100, 10, 10, 10))
    ]
    first = streams[0].worker_id
    assert [stream.worker_id == first for stream in streams] == [True, False, False, False]
    for stream in streams:
        stream.close()
    await other.stop()


@pytest.mark.case("serving.34")
async def test_a_hung_engine_gets_no_calls_while_another_worker_can_serve_them(
    client: RelayClient,
    worker: HandWorker,
    redis_url: str,
    redis_client: redis.Redis,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(routing, "SILENCE_S", 0.0)
    stream = await client.submit(CALL, attempt=1)
    stream.close()  # as the gateway does after a timeout
    alone = await client.submit(CALL, attempt=1)
    assert alone.worker_id == "w1", "there is no other"
    monkeypatch.setattr(routing, "SILENCE_S", 60.0)
    other = await HandWorker.start(redis_url, redis_client, "w2")
    await other.announce()
    async with asyncio.timeout(PATIENCE_S):
        while len(client.workers()) < 2:
            await asyncio.sleep(0.02)
    numbers = itertools.count(2)

    async def submit() -> RelayStream:
        return await client.submit(replace(CALL, request_id=f"req_{next(numbers)}"), attempt=1)

    assert [(await submit()).worker_id for _ in range(3)] == ["w2"] * 3
    await worker.send(names.gateway_channel("g1"), accepted(), cancelled("req_0"))
    assert [type(event) for event in await alone.next_events(3)] == [Accepted]
    assert (await submit()).worker_id == "w2", "a worker whose engine hangs confirms cancellations too"
    await worker.send(names.gateway_channel("g1"), delta(1))
    while not any(isinstance(event, Delta) for event in await alone.next_events(3)):
        pass
    stream = await submit()
    assert stream.worker_id == "w1", "it has sent output again"
    monkeypatch.setattr(routing, "SILENCE_S", 0.0)
    alone.close()
    assert (await submit()).worker_id == "w2"
    monkeypatch.setattr(routing, "AVOIDED_S", 0.0)
    stream.close()
    assert [(await submit()).worker_id for _ in range(3)] == ["w1", "w2", "w2"], "a single call probes it"
    await other.stop()


async def test_a_broken_connection_loses_streams_and_new_ones_work_soon_after(
    client: RelayClient, worker: HandWorker, redis_client: redis.Redis
) -> None:
    stream = await client.submit(CALL, attempt=1)
    redis_client.client_kill_filter(_type="pubsub", skipme=True)
    assert (await _collect(stream))[-1] == Lost(LossCause.TRANSPORT_LOST)
    stream.close()
    start = time.monotonic()
    while True:
        try:
            second = await client.submit(CALL, attempt=1)
            break
        except (TransportError, NoWorkerError):
            assert time.monotonic() - start < 5
            await asyncio.sleep(0.05)
    second.close()


async def test_next_events_returns_an_empty_list_after_its_timeout(client: RelayClient) -> None:
    stream = await client.submit(CALL, attempt=1)
    start = time.monotonic()
    assert await stream.next_events(0.1) == []
    assert 0.09 < time.monotonic() - start < 1
    stream.close()


async def test_a_worker_without_the_operation_gets_no_calls(client: RelayClient, worker: HandWorker) -> None:
    embedding = HandWorker(worker.subscriber, worker.layer, worker.redis_client, "w2")
    await embedding.announce(operations=("embeddings", "an operation of a newer worker"))
    async with asyncio.timeout(PATIENCE_S):
        while len(client.workers()) < 2:
            await asyncio.sleep(0.02)
    for number in range(6):
        operation = Operation.EMBEDDINGS if number % 2 else Operation.COMPLETIONS
        call = replace(CALL, request_id=f"req_{number}", operation=operation)
        stream = await client.submit(call, attempt=1)
        assert stream.worker_id == ("w2" if number % 2 else "w1")
    with pytest.raises(NoWorkerError):
        await client.submit(replace(CALL, operation=Operation.TOKENIZE), attempt=1)
    with pytest.raises(NoWorkerError):
        await client.submit(replace(CALL, operation=Operation.EMBEDDINGS), attempt=1, excluded_workers=["w2"])


async def test_concurrent_callers_share_one_refresh_that_finds_a_new_worker(
    client: RelayClient, worker: HandWorker, redis_client: redis.Redis
) -> None:
    await HandWorker(worker.subscriber, worker.layer, worker.redis_client, "w2").announce()
    before = redis_client.info("commandstats")["cmdstat_mget"]["calls"]
    views = await asyncio.gather(*(client.workers_now() for _ in range(50)))
    assert all({worker.worker_id for worker in workers} == {"w1", "w2"} for workers in views)
    refreshes = redis_client.info("commandstats")["cmdstat_mget"]["calls"] - before
    assert refreshes <= 3, "one for all callers, and perhaps some of the periodic ones"
