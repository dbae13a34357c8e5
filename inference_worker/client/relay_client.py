"""The engine client that reaches workers over the channel layer."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import OrderedDict
from collections.abc import Coroutine, Sequence
from typing import Any

from typing_extensions import override

from inference_worker.client.interface import Call, EngineClient, LossCause, NoWorkerError, TransportError
from inference_worker.client.relay_stream import RelayStream
from inference_worker.client.routing import Router
from inference_worker.client.worker_directory import REFRESH_INTERVAL_S, WorkerDirectory
from inference_worker.protocol import codec, names
from inference_worker.protocol.messages import (
    Cancel,
    Command,
    Delta,
    Failed,
    Finished,
    Frame,
    Heartbeat,
    Submit,
)
from inference_worker.transport.channel_layer import NoReceiverError, PubSubChannelLayer
from inference_worker.transport.redis_connection import RedisUnavailableError
from inference_worker.transport.subscriber import Subscriber

logger = logging.getLogger("cyllm.relay")

# Added to the expiry of heartbeats: a restarted Redis has none for a moment.
UNRESPONSIVE_LIMIT_S = 2.0
MAX_ORPHANS = 10_000


class RelayClient(EngineClient):
    """Sends calls to workers and dispatches their frames. The owner of ``subscriber`` starts and stops it."""

    def __init__(self, redis_url: str, subscriber: Subscriber, gateway_id: str) -> None:
        self._channel = names.gateway_channel(gateway_id)
        self._layer = PubSubChannelLayer(redis_url, subscriber)
        self._directory = WorkerDirectory(self._layer)
        self._router = Router()
        self._streams: dict[str, RelayStream] = {}
        self._next_sequences: dict[tuple[str, str], int] = {}
        self._cancelled_orphans: OrderedDict[str, None] = OrderedDict()
        self._unresponsive_since: dict[str, float] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._refresh_task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Connect and start receiving. Without Redis, return after some seconds and connect later."""
        await self._layer.start()
        with contextlib.suppress(RedisUnavailableError):
            await self._layer.open(self._channel, timeout_s=3.0)
        for work in (self._receive(), self._directory.keep_fresh(), self._watch_workers()):
            self._spawn(work)

    async def stop(self) -> None:
        """End every open stream as lost, and disconnect."""
        for stream in list(self._streams.values()):
            stream.lose(LossCause.TRANSPORT_LOST)
        await asyncio.sleep(0)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._layer.stop()

    @override
    def workers(self) -> Sequence[Heartbeat]:
        return self._directory.workers()

    @override
    async def workers_now(self) -> Sequence[Heartbeat]:
        # Concurrent callers share one refresh, and none may cancel it for the others.
        if self._refresh_task is None or self._refresh_task.done():
            self._refresh_task = asyncio.create_task(self._directory.refresh(), name="refresh-workers")
        try:
            await asyncio.shield(self._refresh_task)
        except RedisUnavailableError as error:
            raise TransportError(str(error)) from error
        return self._directory.workers()

    @override
    def is_healthy(self) -> bool:
        return self._layer.is_up

    @override
    async def submit(self, call: Call, *, attempt: int, excluded_workers: Sequence[str] = ()) -> RelayStream:
        dead_channels: set[str] = set()
        while worker := await self._best_worker(call, excluded_workers, dead_channels):
            stream = self._open_stream(call, attempt, worker)
            try:
                await self._send(worker.channel, self._submit_message(call, attempt))
            except NoReceiverError:
                dead_channels.add(worker.channel)
                stream.is_over = True
                stream.close()
            except RedisUnavailableError as error:
                # The call may have arrived nonetheless; _cancel_orphan stops it then.
                stream.close()
                raise TransportError(str(error)) from error
            except BaseException:
                stream.close()
                raise
            else:
                return stream
        raise NoWorkerError(call.model)

    async def _best_worker(
        self, call: Call, excluded_workers: Sequence[str], dead_channels: set[str]
    ) -> Heartbeat | None:
        worker = self._router.best_worker(self._directory.workers(), call, excluded_workers, dead_channels)
        if worker is None:
            # One may have become ready since the last refresh.
            worker = self._router.best_worker(await self.workers_now(), call, excluded_workers, dead_channels)
        return worker

    def _open_stream(self, call: Call, attempt: int, worker: Heartbeat) -> RelayStream:
        stream = RelayStream(call, attempt, worker, send_cancel=self._send_soon, on_close=self._remove)
        self._streams[call.request_id] = stream
        self._router.record_start(stream)
        return stream

    def _remove(self, stream: RelayStream) -> None:
        self._router.record_end(stream)
        # A newer attempt of the same request may have replaced this one.
        if self._streams.get(stream.request_id) is stream:
            del self._streams[stream.request_id]

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
            adapter=call.adapter,
            is_metered=call.is_metered,
        )

    async def _send(self, channel: str, command: Command) -> None:
        if not self._layer.is_up:
            raise RedisUnavailableError("Redis can't be reached")
        await self._layer.send(channel, {"type": "relay.command", "data": codec.encode(command)})

    def _send_soon(self, channel: str, command: Command) -> None:
        """Send in the background. A Cancel that can't be delivered is not worth a retry."""

        async def send() -> None:
            with contextlib.suppress(NoReceiverError, RedisUnavailableError):
                await self._send(channel, command)

        self._spawn(send())

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finish_task)

    def _finish_task(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("the relay's task %s failed", task.get_name(), exc_info=error)

    async def _receive(self) -> None:
        while True:
            try:
                message = await self._layer.receive(self._channel)
            except RedisUnavailableError:
                continue
            if message.get("type") == "layer.gap":
                self._next_sequences.clear()
                self._lose_all(LossCause.TRANSPORT_LOST)
                continue
            try:
                self._accept(codec.decode_frame(message["data"]))
            except (codec.ProtocolError, KeyError, TypeError) as error:
                # The sequence number of the next frame shows that the streams of this worker lost events.
                logger.error("frame ignored: %s", error)

    def _accept(self, frame: Frame) -> None:
        source = (frame.worker_id, frame.lane)
        next_sequence = self._next_sequences.get(source, frame.sequence)
        if frame.sequence < next_sequence:
            return  # a duplicate, sent again after a broken connection
        self._next_sequences[source] = frame.sequence + 1
        if frame.sequence > next_sequence:
            logger.error("%d frames of %s lost", frame.sequence - next_sequence, frame.worker_id)
            self._lose_all(LossCause.EVENTS_LOST, frame.worker_id)
        if self._router.has_suspects and any(isinstance(e, Delta | Finished) for e in frame.events):
            self._router.record_output(frame.worker_id)
        streams = self._streams
        for event in frame.events:
            if stream := streams.get(event.request_id):
                stream.accept(event)
            elif not isinstance(event, Finished | Failed):
                self._cancel_orphan(event.request_id, frame.worker_id)

    def _cancel_orphan(self, request_id: str, worker_id: str) -> None:
        """Stop an attempt that has no stream: its Cancel, or the confirmation of its Submit, was lost."""
        worker = self._directory.find(worker_id)
        if worker is None or request_id in self._cancelled_orphans:
            return
        self._cancelled_orphans[request_id] = None
        while len(self._cancelled_orphans) > MAX_ORPHANS:
            self._cancelled_orphans.popitem(last=False)
        self._send_soon(worker.channel, Cancel(request_id=request_id, reason="the gateway has no stream"))

    def _lose_all(self, cause: LossCause, worker_id: str | None = None) -> None:
        for stream in list(self._streams.values()):
            if worker_id in (None, stream.worker_id):
                stream.lose(cause)

    async def _watch_workers(self) -> None:
        """End the streams of dead workers, and of workers that are connected but unresponsive."""
        while True:
            await asyncio.sleep(REFRESH_INTERVAL_S)
            channels = sorted({s.worker_channel for s in self._streams.values() if not s.is_over})
            with contextlib.suppress(RedisUnavailableError):
                dead_channels = await self._directory.channels_without_receiver(channels)
                dead_channels |= self._unresponsive_channels(channels)
                for stream in list(self._streams.values()):
                    if stream.worker_channel in dead_channels:
                        stream.lose(LossCause.WORKER_DIED)
            self._drop_old_sequences()

    def _unresponsive_channels(self, channels: Sequence[str]) -> set[str]:
        """Return the channels whose worker has had no heartbeat, or a hung event loop, for too long."""
        now = asyncio.get_running_loop().time()
        self._unresponsive_since = {
            channel: self._unresponsive_since.get(channel, now)
            for channel in channels
            if not self._directory.has_responsive_worker(channel)
        }
        limit = now - UNRESPONSIVE_LIMIT_S
        return {channel for channel, since in self._unresponsive_since.items() if since < limit}

    def _drop_old_sequences(self) -> None:
        busy_workers = {stream.worker_id for stream in self._streams.values()}
        for source in [source for source in self._next_sequences if source[0] not in busy_workers]:
            del self._next_sequences[source]
