"""The worker process: loads its engine, executes commands, drains, and reports its status."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import secrets
import signal
import socket
import time
from functools import partial

from inference_worker.protocol import codec, names
from inference_worker.protocol.messages import WorkerState
from inference_worker.runtime.calls.engine import Engine, EngineContext, EngineFailedError
from inference_worker.runtime.calls.sequence_shares import SequenceShares
from inference_worker.runtime.engines.hardware import detect_hardware
from inference_worker.runtime.process.call_table import CallTable
from inference_worker.runtime.process.heartbeat import HeartbeatThread, WorkerReport
from inference_worker.runtime.settings import WorkerSettings
from inference_worker.transport import changes
from inference_worker.transport.channel_layer import PubSubChannelLayer
from inference_worker.transport.facts import FactWriter
from inference_worker.transport.redis_connection import RedisUnavailableError
from inference_worker.transport.subscriber import Subscriber

logger = logging.getLogger("cyllm.worker")

STATUS_INTERVAL_S = 0.25
ANNOUNCEMENT_S = 0.05  # for the heartbeat to carry the new channel before the old one closes


class Worker:
    """One process, one engine, one model and its adapters."""

    def __init__(self, settings: WorkerSettings) -> None:
        self._settings = settings
        self._hardware = detect_hardware()
        self._status = WorkerReport(
            worker_id=settings.id or f"{socket.gethostname()}-{os.getpid()}",
            models=(settings.model, *(source.name for source in settings.adapters)),
            engine=settings.engine,
            hardware=self._hardware.name,
        )
        self._new_channel()
        self._subscriber = Subscriber(settings.redis_url)
        self._layer = PubSubChannelLayer(settings.redis_url, self._subscriber)
        self._facts = FactWriter(settings.redis_url)
        self._heartbeat = HeartbeatThread(settings.redis_url, self._status)
        self._stop = asyncio.Event()
        self.serving = asyncio.Event()

    def request_stop(self) -> None:
        """Start to drain: refuse new requests and finish the running ones."""
        self._stop.set()

    async def run(self) -> None:
        """Serve until ``request_stop`` or until the engine fails. Raises EngineFailedError."""
        await self._subscriber.start()
        await self._layer.start()
        await self._facts.start()
        self._heartbeat.start()
        loop_turns = asyncio.create_task(self._record_loop_turns(), name="loop-turns")
        try:
            self._enter(WorkerState.LOADING)
            async with self._engine() as engine:
                await self._serve(engine)
        except EngineFailedError as error:
            self._status.enter_stage(str(error))
            self._enter(WorkerState.FAILED)
            raise
        finally:
            loop_turns.cancel()
            # A failure stays visible until the entry expires.
            await asyncio.to_thread(self._heartbeat.stop, remove=self._status.state is not WorkerState.FAILED)
            await self._facts.stop()
            await self._layer.stop()
            await self._subscriber.stop()

    def _engine(self) -> EngineContext:
        if self._settings.engine == "remote":
            from inference_worker.runtime.engines.remote_engine import remote_engine

            return remote_engine(self._settings, self._status.enter_stage)
        from inference_worker.runtime.engines.vllm_engine import vllm_engine

        return vllm_engine(self._settings, self._hardware, self._status.enter_stage)

    def _enter(self, state: WorkerState) -> None:
        self._status.state = state
        self._heartbeat.write_now()

    def _new_channel(self) -> None:
        self._status.boot = secrets.token_hex(6)
        self._status.channel = names.worker_channel(self._status.worker_id, self._status.boot)

    async def _serve(self, engine: Engine) -> None:
        self._status.max_model_len, self._status.operations = engine.max_model_len, engine.operations
        self._status.sampling_defaults = engine.sampling_defaults
        self._status.template_variables = engine.template_variables
        self._status.template_tokens = engine.template_tokens
        self._status.template_option_tokens = engine.template_option_tokens
        self._status.max_lora_rank, self._status.dtype = engine.max_lora_rank, engine.dtype
        deletions = self._subscriber.subscribe(
            names.CHANGES_CHANNEL, partial(_remove_adapter, engine), on_gap=lambda: None
        )
        sequences = SequenceShares(engine.max_num_seqs)
        calls = CallTable(
            engine, self._status, self._layer, self._facts, self._settings.max_requests, sequences
        )
        commands = asyncio.create_task(self._handle_commands(calls), name="commands")
        failure = asyncio.create_task(engine.wait_for_failure(), name="engine-health")
        stop = asyncio.create_task(self._stop.wait(), name="stop")
        load = asyncio.create_task(self._watch_load(engine, calls), name="load")
        try:
            await asyncio.wait([commands, failure, stop], return_when=asyncio.FIRST_COMPLETED)
            self._enter(WorkerState.DRAINING)
            if failure.done():
                raise EngineFailedError(f"the engine failed: {failure.result()}")
            if commands.done():
                commands.result()
            self._status.enter_stage(f"draining {len(calls)} requests")
            await calls.drain(self._settings.drain_timeout_s)
        finally:
            for task in (commands, failure, stop, load):
                task.cancel()
            await asyncio.gather(commands, failure, stop, load, return_exceptions=True)
            self._subscriber.unsubscribe(deletions)
            await calls.close()

    async def _handle_commands(self, calls: CallTable) -> None:
        await self._open_channel()
        # The engine's libraries have a large, permanent heap; a full collection would stall every stream.
        gc.collect()
        gc.freeze()
        self._status.enter_stage("ready")
        self._enter(WorkerState.READY)
        self.serving.set()
        while True:
            message = await self._layer.receive(self._status.channel)
            if message.get("type") == "layer.gap":
                await self._reopen_channel(calls)
                continue
            try:
                calls.handle(codec.decode_command(message["data"]))
            except (codec.ProtocolError, KeyError, TypeError) as error:
                logger.error("ignored a command: %s", error)

    async def _reopen_channel(self, calls: CallTable) -> None:
        """Move to a new channel, as commands on the old one may be lost; gateways then fail its calls."""
        logger.warning("the connection to Redis broke: cancelling %d requests", len(calls))
        calls.cancel_all("commands may be lost")
        old_channel = self._status.channel
        self._new_channel()
        await self._open_channel()
        self._heartbeat.write_now()
        await asyncio.sleep(ANNOUNCEMENT_S)
        self._layer.close(old_channel)

    async def _open_channel(self) -> None:
        while True:
            try:
                await self._layer.open(self._status.channel)
                return
            except RedisUnavailableError:
                logger.warning("Redis is unavailable, trying again")

    async def _watch_load(self, engine: Engine, calls: CallTable) -> None:
        while True:
            self._status.running = engine.running_requests
            self._status.adapters = engine.loaded_adapters
            self._status.kv_cache_use = engine.kv_cache_use
            self._status.waiting = max(len(calls) - self._status.running, 0)
            await asyncio.sleep(STATUS_INTERVAL_S)

    async def _record_loop_turns(self) -> None:
        while True:
            self._status.last_loop_turn = time.monotonic()
            await asyncio.sleep(STATUS_INTERVAL_S)


def _remove_adapter(engine: Engine, change: bytes) -> None:
    """Unload an adapter that has been deleted. One whose message is lost is removed when it is not used."""
    kind, _, sha256 = change.decode(errors="replace").partition(" ")
    if kind == changes.ADAPTER:
        engine.remove_adapter(sha256)


async def serve(settings: WorkerSettings) -> None:
    """Run a worker until SIGTERM or SIGINT. Raises EngineFailedError.

    While it loads, a signal kills the process at once, as loading can't be interrupted otherwise. The kernel
    then kills the engine's processes.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    worker = Worker(settings)
    running = asyncio.create_task(worker.run(), name="worker")
    serving = asyncio.create_task(worker.serving.wait(), name="serving")
    await asyncio.wait([running, serving], return_when=asyncio.FIRST_COMPLETED)
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, worker.request_stop)
    with contextlib.suppress(asyncio.CancelledError):
        serving.cancel()
        await serving
    await running
