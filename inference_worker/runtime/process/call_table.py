"""The open calls of this worker: started by a Submit, ended by the engine, a Cancel or the worker."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from functools import partial

from inference_worker.protocol.messages import (
    AdapterRef,
    AttemptMetered,
    Cancel,
    Command,
    Event,
    FailureKind,
    Submit,
    WorkerState,
)
from inference_worker.runtime.calls.engine import Engine
from inference_worker.runtime.calls.engine_call import WORKER_STOPS, EngineCall
from inference_worker.runtime.calls.event_numbering import NumberedEvents
from inference_worker.runtime.calls.frame_sender import FrameSender
from inference_worker.runtime.calls.sequence_shares import SequenceShares
from inference_worker.runtime.process.heartbeat import WorkerReport
from inference_worker.telemetry.masking import trace_without_messages
from inference_worker.transport.channel_layer import PubSubChannelLayer
from inference_worker.transport.facts import FactWriter

logger = logging.getLogger("cyllm.worker.calls")

OVERTIME_S = 5.0  # beyond its budget, in case the gateway's Cancel was lost
FLUSH_TIMEOUT_S = 2.0


class CallTable:
    """Open calls by request id. Each ends with one last event and one AttemptMetered."""

    def __init__(
        self,
        engine: Engine,
        status: WorkerReport,
        layer: PubSubChannelLayer,
        facts: FactWriter,
        max_requests: int,
        sequences: SequenceShares,
    ) -> None:
        self._engine, self._status, self._facts = engine, status, facts
        self._max_requests, self._sequences = max_requests, sequences
        self._frame_sender = FrameSender(
            layer, status.worker_id, has_calls=self._has_calls, on_disconnect=self._cancel_calls_of
        )
        self._calls: dict[str, EngineCall] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._calls)

    def handle(self, command: Command) -> None:
        """Execute a gateway's command. Never raises: a call that can't start ends with Failed."""
        if isinstance(command, Cancel):
            if call := self._calls.get(command.request_id):
                call.cancel(command.reason)
        elif reason := self._reason_to_refuse(command):
            self._fail(command, FailureKind.REFUSED, reason)
        else:
            try:
                self._start(command)
            except Exception as error:
                trace = trace_without_messages(error)
                logger.error("can't start %s", command.request_id, extra={"trace": trace})
                self._fail(command, FailureKind.ENGINE, type(error).__name__)

    def cancel_all(self, reason: str) -> None:
        """Cancel all open calls."""
        for call in list(self._calls.values()):
            call.cancel(reason)

    async def drain(self, timeout_s: float) -> None:
        """Wait for the open calls to end, at most ``timeout_s``."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while self._tasks:
                    await asyncio.wait(list(self._tasks))

    async def close(self) -> None:
        """Cancel the open calls and send the pending events."""
        self.cancel_all(WORKER_STOPS)
        if self._tasks:
            await asyncio.wait(list(self._tasks), timeout=OVERTIME_S)
        await self._frame_sender.flush(FLUSH_TIMEOUT_S)
        await self._frame_sender.stop()

    def _reason_to_refuse(self, submit: Submit) -> str:
        if self._status.state is not WorkerState.READY:
            return f"worker is {self._status.state}"
        if self._engine.is_dead:
            return "the engine has ended"
        if submit.adapter is not None and not self._serves_adapter(submit.adapter):
            return f"the adapter {submit.model} can't be loaded here"
        if submit.adapter is None and submit.model not in self._status.models:
            return f"{submit.model} is not served here"
        if submit.operation not in self._engine.operations:
            return f"the engine has no {submit.operation}"
        if len(self._calls) >= self._max_requests:
            return "worker is full"
        if submit.request_id in self._calls:
            return "an attempt of this request is still running here"
        return ""

    def _serves_adapter(self, ref: AdapterRef) -> bool:
        return ref.base_model in self._status.models and ref.rank <= self._engine.max_lora_rank

    def _fail(self, submit: Submit, kind: FailureKind, reason: str) -> None:
        """Send the only event of a call that is not started."""
        NumberedEvents(submit, self._emitter(submit)).emit_failed(kind, 0, reason)

    def _emitter(self, submit: Submit) -> Callable[[Event], None]:
        return partial(self._frame_sender.put, submit.reply_to)

    def _start(self, submit: Submit) -> None:
        call = EngineCall(submit, self._engine, self._emitter(submit), self._sequences)
        self._calls[submit.request_id] = call
        self._frame_sender.open(submit.reply_to)
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
            if call.submit.is_metered:
                self._facts.add(self._metered(call))

    def _metered(self, call: EngineCall) -> AttemptMetered:
        return AttemptMetered(
            request_id=call.submit.request_id,
            attempt=call.submit.attempt,
            worker_id=self._status.worker_id,
            outcome=call.outcome,
            meter=call.meter.reading(),
            at=time.time(),
        )

    def _has_calls(self, reply_to: str) -> bool:
        return any(call.submit.reply_to == reply_to for call in self._calls.values())

    def _cancel_calls_of(self, reply_to: str) -> None:
        for call in list(self._calls.values()):
            if call.submit.reply_to == reply_to:
                call.cancel("gateway disconnected")
