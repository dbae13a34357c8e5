"""The worker process: takes commands, runs calls on its engine, drains, and says how it is."""

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

from inference_worker.protocol import codec, names
from inference_worker.protocol.messages import (
    AttemptMetered,
    Cancel,
    Command,
    Submit,
    WorkerState,
)
from inference_worker.runtime.call import EngineCall, refusal
from inference_worker.runtime.engine import Engine, EngineContext, EngineStartError
from inference_worker.runtime.hardware import detect_hardware
from inference_worker.runtime.heartbeat import HeartbeatThread, WorkerStatus
from inference_worker.runtime.outbox import Outbox
from inference_worker.runtime.settings import WorkerSettings
from inference_worker.transport.facts import FactWriter
from inference_worker.transport.layer import PubSubChannelLayer
from inference_worker.transport.link import LinkDown

logger = logging.getLogger("cyllm.worker")

TICK_S = 0.25
OVERTIME_S = 5.0  # after its budget the gateway has given up; this stops what its Cancel didn't reach


class Worker:
    """One process, one engine, one model."""

    def __init__(self, settings: WorkerSettings) -> None:
        self._settings = settings
        worker_id = settings.id or f"{socket.gethostname()}-{os.getpid()}"
        boot = secrets.token_hex(6)
        self._hardware = detect_hardware()
        self._status = WorkerStatus(
            worker_id=worker_id,
            boot=boot,
            channel=names.worker_channel(worker_id, boot),
            models=(settings.model,),
            engine=settings.engine,
            hardware=self._hardware.name,
        )
        self._layer = PubSubChannelLayer(settings.redis_url)
        self._facts = FactWriter(settings.redis_url)
        self._outbox = Outbox(self._layer, worker_id, boot, self._gateway_gone)
        self._heartbeat = HeartbeatThread(settings.redis_url, self._status)
        self._calls: dict[str, EngineCall] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._stop = asyncio.Event()

    def request_stop(self) -> None:
        """Begin to drain: take nothing new, finish what runs."""
        self._stop.set()

    async def run(self) -> None:
        """Serve until ``request_stop`` or until the engine fails. Raises EngineStartError."""
        await self._layer.start()
        await self._facts.start()
        self._heartbeat.start()
        tick = asyncio.create_task(self._tick(), name="tick")
        try:
            self._enter(WorkerState.LOADING)
            async with self._engine() as engine:
                await self._serve(engine)
        except EngineStartError:
            self._enter(WorkerState.FAILED)
            raise
        finally:
            tick.cancel()
            await asyncio.to_thread(self._heartbeat.end)
            await self._outbox.stop()
            await self._facts.stop()
            await self._layer.stop()

    def _engine(self) -> EngineContext:
        if self._settings.engine == "remote":
            from inference_worker.runtime.remote_engine import remote_engine

            return remote_engine(self._settings, self._status.enter_stage)
        from inference_worker.runtime.vllm_engine import vllm_engine

        return vllm_engine(self._settings, self._hardware, self._status.enter_stage)

    def _enter(self, state: WorkerState) -> None:
        self._status.state = state
        self._heartbeat.write_now()

    async def _serve(self, engine: Engine) -> None:
        self._status.max_model_len = engine.max_model_len
        commands = asyncio.create_task(self._take_commands(engine), name="commands")
        failure = asyncio.create_task(engine.failed(), name="engine-health")
        stop = asyncio.create_task(self._stop.wait(), name="stop")
        load = asyncio.create_task(self._watch_load(engine), name="load")
        try:
            await asyncio.wait([commands, failure, stop], return_when=asyncio.FIRST_COMPLETED)
            self._enter(WorkerState.DRAINING)
            if failure.done():
                raise EngineStartError(f"the engine failed: {failure.result()}")
            if commands.done():
                commands.result()
            await self._drain()
        finally:
            for task in (commands, failure, stop, load):
                task.cancel()
            await asyncio.gather(commands, failure, stop, load, return_exceptions=True)
            await self._end_calls()

    async def _take_commands(self, engine: Engine) -> None:
        channel = self._status.channel
        while True:
            try:
                await self._layer.open(channel)
                break
            except LinkDown:
                logger.warning("Redis can't be reached; trying again")
        # The engine's library is a large heap that stays; a full collection of it stalls every stream.
        gc.collect()
        gc.freeze()
        self._status.enter_stage("ready")
        self._enter(WorkerState.READY)
        while True:
            message = await self._layer.receive(channel)
            if message["type"] == "layer.gap":
                # Submits and Cancels may be lost. Gateways notice the former and repeat the latter by
                # the end of a call's budget; their own connections have failed with ours.
                continue
            try:
                self._take(codec.decode_command(message["data"]), engine)
            except (codec.ProtocolError, KeyError) as error:
                logger.error("command left out: %s", error)

    def _take(self, command: Command, engine: Engine) -> None:
        if isinstance(command, Cancel):
            if call := self._calls.get(command.request_id):
                call.cancel(command.reason)
        elif why := self._reason_to_refuse(command):
            self._outbox.put(command.reply_to, refusal(command, why))
        else:
            self._begin(command, engine)

    def _reason_to_refuse(self, submit: Submit) -> str:
        if self._status.state is not WorkerState.READY:
            return f"worker is {self._status.state}"
        if submit.model not in self._status.models:
            return f"{submit.model} is not served here"
        if len(self._calls) >= self._settings.max_requests:
            return "worker is full"
        if submit.request_id in self._calls:
            return "an attempt of this request is still running here"
        return ""

    def _begin(self, submit: Submit, engine: Engine) -> None:
        call = EngineCall(submit, engine, lambda event: self._outbox.put(submit.reply_to, event))
        self._calls[submit.request_id] = call
        self._outbox.open(submit.reply_to)
        task = asyncio.create_task(self._run(call), name=f"call-{submit.request_id}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, call: EngineCall) -> None:
        overtime = asyncio.get_running_loop().call_later(
            call.submit.budget_s + OVERTIME_S, call.cancel, "out of time"
        )
        try:
            await call.run()
        finally:
            overtime.cancel()
            del self._calls[call.submit.request_id]
            self._facts.add(self._fact(call))

    def _fact(self, call: EngineCall) -> AttemptMetered:
        return AttemptMetered(
            request_id=call.submit.request_id,
            attempt=call.submit.attempt,
            worker_id=self._status.worker_id,
            outcome=call.outcome,
            meter=call.meter.reading(),
            at=time.time(),
        )

    def _gateway_gone(self, reply_to: str) -> None:
        for call in list(self._calls.values()):
            if call.submit.reply_to == reply_to:
                call.cancel("gateway gone")

    async def _drain(self) -> None:
        self._status.enter_stage(f"draining {len(self._calls)} requests")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._settings.drain_timeout_s):
                while self._tasks:
                    await asyncio.wait(list(self._tasks))

    async def _end_calls(self) -> None:
        for call in list(self._calls.values()):
            call.cancel("worker stops")
        if self._tasks:
            await asyncio.wait(list(self._tasks), timeout=OVERTIME_S)
        await self._outbox.flush(timeout_s=2.0)

    async def _watch_load(self, engine: Engine) -> None:
        while True:
            self._status.running = engine.running()
            self._status.waiting = max(len(self._calls) - self._status.running, 0)
            await asyncio.sleep(TICK_S)

    async def _tick(self) -> None:
        while True:
            self._status.loop_turned = time.monotonic()
            await asyncio.sleep(TICK_S)


async def serve(settings: WorkerSettings) -> None:
    """Run a worker until SIGTERM or SIGINT. Raises EngineStartError."""
    worker = Worker(settings)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, worker.request_stop)
    await worker.run()
