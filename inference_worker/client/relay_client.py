"""The client that reaches workers over the Channels layer, and the streams it hands out."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import OrderedDict
from collections.abc import Coroutine, Sequence
from typing import Any

from inference_worker.client.interface import (
    Call,
    Lost,
    NoWorkerError,
    StreamEvent,
    TransportError,
)
from inference_worker.client.worker_directory import REFRESH_INTERVAL_S, WorkerDirectory
from inference_worker.protocol import codec, names
from inference_worker.protocol.messages import (
    Cancel,
    Command,
    Event,
    Failed,
    Finished,
    Frame,
    Heartbeat,
    Submit,
)
from inference_worker.transport.channel_layer import NoReceiver, PubSubChannelLayer
from inference_worker.transport.redis_connection import RedisUnavailable

logger = logging.getLogger("cyllm.relay")

UNSEEN_LIMIT_S = 2.0  # on top of the heartbeat's expiry: a restarted Redis has no heartbeats for a moment
MOST_DISOWNED = 10_000


class RelayStream:
    """The events of one attempt; checks their numbers, wakes its reader once per frame."""

    def __init__(self, client: RelayClient, call: Call, attempt: int, worker: Heartbeat) -> None:
        self.worker_id = worker.worker_id
        self.attempt = attempt
        self.request_id = call.request_id
        self.channel = worker.channel
        self.cost_tokens = call.cost_tokens
        self.ended = False
        self._client = client
        self._events: list[StreamEvent] = []
        self._next_index = 0
        self._waiter: asyncio.Future[None] | None = None

    async def next_events(self, timeout_s: float) -> list[StreamEvent]:
        """See ``interface.Stream``."""
        if not self._events:
            loop = asyncio.get_running_loop()
            self._waiter = loop.create_future()
            timer = loop.call_later(max(timeout_s, 0.0), _wake, self._waiter)
            try:
                await self._waiter
            finally:
                timer.cancel()
                self._waiter = None
        events, self._events = self._events, []
        return events

    def cancel(self, reason: str) -> None:
        """See ``interface.Stream``."""
        self._client.send_soon(self.channel, Cancel(request_id=self.request_id, reason=reason))

    def close(self) -> None:
        """See ``interface.Stream``."""
        if not self.ended:
            self.ended = True
            self.cancel("closed")
        self._client.forget(self)

    def accept(self, event: Event) -> None:
        """Take an event from a frame; a missing one ends the stream as lost."""
        if event.attempt != self.attempt or self.ended:
            return
        if event.index != self._next_index:
            self.lose("events_lost")
            return
        self._next_index += 1
        if isinstance(event, Finished | Failed):
            self.ended = True
        self._push(event)

    def lose(self, cause: str) -> None:
        """End the stream from this side; the worker, if it lives, is told to stop."""
        if not self.ended:
            self.cancel(cause)
            self.ended = True
            self._push(Lost(cause))

    def _push(self, event: StreamEvent) -> None:
        self._events.append(event)
        if self._waiter is not None:
            _wake(self._waiter)


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


class RelayClient:
    """One per gateway process; ``start`` and ``stop`` belong to the process's life."""

    def __init__(self, redis_url: str, gateway_id: str) -> None:
        self._channel = names.gateway_channel(gateway_id)
        self._layer = PubSubChannelLayer(redis_url)
        self._directory = WorkerDirectory(self._layer)
        self._streams: dict[str, RelayStream] = {}
        self._sequences: dict[tuple[str, str], int] = {}
        self._disowned: OrderedDict[str, None] = OrderedDict()
        self._unseen_since: dict[str, float] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._look: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Connect and begin to listen; without Redis it returns all the same and connects later."""
        await self._layer.start()
        with contextlib.suppress(RedisUnavailable):
            await self._layer.open(self._channel, timeout_s=3.0)
        for work in (self._receive(), self._directory.keep_fresh(), self._watch_workers()):
            self._spawn(work)

    async def stop(self) -> None:
        """Lose every open stream and close."""
        for stream in list(self._streams.values()):
            stream.lose("transport_lost")
        await asyncio.sleep(0)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._layer.stop()

    def workers(self) -> Sequence[Heartbeat]:
        """See ``interface.EngineClient``."""
        return self._directory.workers()

    async def workers_now(self) -> Sequence[Heartbeat]:
        """See ``interface.EngineClient``. All who ask while one look is under way share it."""
        if self._look is None or self._look.done():
            self._look = asyncio.create_task(self._directory.refresh(), name="look-for-workers")
        try:
            await asyncio.shield(self._look)
        except RedisUnavailable as error:
            raise TransportError(str(error)) from error
        return self._directory.workers()

    def healthy(self) -> bool:
        """See ``interface.EngineClient``."""
        return self._layer.is_up

    async def submit(self, call: Call, *, attempt: int, excluded: Sequence[str] = ()) -> RelayStream:
        """See ``interface.EngineClient``. Workers found to be gone are passed over at once."""
        silent: set[str] = set()
        while worker := await self._best(call, excluded, silent):
            stream = RelayStream(self, call, attempt, worker)
            self._streams[call.request_id] = stream
            self._directory.charge(worker.worker_id, call.cost_tokens)
            try:
                await self._send(worker.channel, self._submit_message(call, attempt))
            except NoReceiver:
                silent.add(worker.channel)
                stream.ended = True
                stream.close()
            except RedisUnavailable as error:
                # It may have arrived all the same: events for nobody are answered with a Cancel.
                stream.close()
                raise TransportError(str(error)) from error
            except BaseException:
                stream.close()
                raise
            else:
                return stream
        raise NoWorkerError(call.model)

    async def _best(self, call: Call, excluded: Sequence[str], silent: set[str]) -> Heartbeat | None:
        """The best worker; where none is known, as Redis has it now: one may just have become ready."""
        if worker := self._directory.best(call.model, call.operation, excluded, silent):
            return worker
        await self.workers_now()
        return self._directory.best(call.model, call.operation, excluded, silent)

    def _submit_message(self, call: Call, attempt: int) -> Submit:
        return Submit(
            request_id=call.request_id,
            attempt=attempt,
            reply_to=self._channel,
            operation=call.operation,
            model=call.model,
            streamed=call.streamed,
            body=call.body,
            correlation_id=call.correlation_id,
            budget_s=call.budget_s,
        )

    async def _send(self, channel: str, command: Command) -> None:
        if not self._layer.is_up:
            raise RedisUnavailable("Redis can't be reached")
        await self._layer.send(channel, {"type": "relay.command", "data": codec.encode(command)})

    def send_soon(self, channel: str, command: Command) -> None:
        """Send without waiting; a worker that is gone needs no telling."""

        async def send() -> None:
            with contextlib.suppress(NoReceiver, RedisUnavailable):
                await self._send(channel, command)

        self._spawn(send())

    def forget(self, stream: RelayStream) -> None:
        """Drop a closed stream. A newer attempt under the same id stays."""
        self._directory.charge(stream.worker_id, -stream.cost_tokens)
        if self._streams.get(stream.request_id) is stream:
            del self._streams[stream.request_id]

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("the relay's task %s ended", task.get_name(), exc_info=error)

    async def _receive(self) -> None:
        while True:
            try:
                message = await self._layer.receive(self._channel)
            except RedisUnavailable:
                continue
            if message["type"] == "layer.gap":
                self._sequences.clear()
                self._lose_all("transport_lost")
                continue
            try:
                self._take(codec.decode_frame(message["data"]))
            except (codec.ProtocolError, KeyError) as error:
                # What it held is unknown; the numbers of the next frame tell which streams it concerned.
                logger.error("frame left out: %s", error)

    def _take(self, frame: Frame) -> None:
        source = (frame.worker_id, frame.lane)
        expected = self._sequences.get(source, frame.sequence)
        if frame.sequence < expected:
            return  # sent again after a broken connection, and already here
        self._sequences[source] = frame.sequence + 1
        if frame.sequence > expected:
            logger.error("%d frames of %s lost", frame.sequence - expected, frame.worker_id)
            self._lose_all("events_lost", frame.worker_id)
        streams = self._streams
        for event in frame.events:
            if stream := streams.get(event.request_id):
                stream.accept(event)
            elif not isinstance(event, Finished | Failed):
                self._disown(event.request_id, frame.worker_id)

    def _disown(self, request_id: str, worker_id: str) -> None:
        """Stop work that nobody here waits for: its Cancel, or the answer to its Submit, got lost."""
        worker = self._directory.find(worker_id)
        if worker is None or request_id in self._disowned:
            return
        self._disowned[request_id] = None
        while len(self._disowned) > MOST_DISOWNED:
            self._disowned.popitem(last=False)
        self.send_soon(worker.channel, Cancel(request_id=request_id, reason="nobody waits"))

    def _lose_all(self, cause: str, worker_id: str | None = None) -> None:
        for stream in list(self._streams.values()):
            if worker_id in (None, stream.worker_id):
                stream.lose(cause)

    async def _watch_workers(self) -> None:
        """End the streams of workers that have gone, or that give no sign of life although connected."""
        while True:
            await asyncio.sleep(REFRESH_INTERVAL_S)
            channels = sorted({stream.channel for stream in self._streams.values() if not stream.ended})
            with contextlib.suppress(RedisUnavailable):
                gone = await self._directory.silent(channels) | self._unseen(channels)
                for stream in list(self._streams.values()):
                    if stream.channel in gone:
                        stream.lose("worker_died")
            self._drop_old_sequences()

    def _unseen(self, channels: Sequence[str]) -> set[str]:
        """Channels whose worker's heartbeat has been missing, or has told of a hung loop, for too long."""
        now = asyncio.get_running_loop().time()
        known = self._unseen_since
        self._unseen_since = {c: known.get(c, now) for c in channels if not self._directory.serves(c)}
        return {channel for channel, since in self._unseen_since.items() if now - since > UNSEEN_LIMIT_S}

    def _drop_old_sequences(self) -> None:
        busy = {stream.worker_id for stream in self._streams.values()}
        for source in [source for source in self._sequences if source[0] not in busy]:
            del self._sequences[source]
