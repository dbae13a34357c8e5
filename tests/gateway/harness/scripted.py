"""An engine client that plays scripts, for faults that a real worker rarely has."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec
from typing_extensions import override

from inference_worker.client.interface import (
    Call,
    EngineClient,
    NoWorkerError,
    Stream,
    StreamEvent,
    TransportError,
)
from inference_worker.protocol.messages import Finished, Heartbeat, Operation, WorkerState
from tests.gateway.harness.scripts import VALID_DOCUMENT, Pause, Script, Step, valid_document
from tests.heartbeats import ready_heartbeat


@dataclass
class ScriptedStream(Stream):
    """One attempt. The public counters record how the gateway used it."""

    worker_id: str
    attempt: int
    script: Script
    cancel_reason: str = ""
    close_count: int = 0
    received_count: int = 0
    _events: list[StreamEvent] = field(default_factory=list)
    _arrival: asyncio.Event = field(default_factory=asyncio.Event)
    _player: asyncio.Task[None] | None = None

    def play(self) -> None:
        """Start to play the script."""
        self._player = asyncio.create_task(self._play())

    async def _play(self) -> None:
        for step in self.script:
            if isinstance(step, Pause):
                await asyncio.sleep(step.seconds)
                continue
            if isinstance(step, asyncio.Event):
                await step.wait()
                continue
            self._events.extend(step if isinstance(step, list) else [step])
            self._arrival.set()
            await asyncio.sleep(0)

    @override
    async def next_events(self, timeout_s: float) -> list[StreamEvent]:
        if not self._events:
            self._arrival.clear()
            try:
                async with asyncio.timeout(timeout_s):
                    await self._arrival.wait()
            except TimeoutError:
                return []
        events, self._events = self._events, []
        self.received_count += len(events)
        return events

    @override
    def cancel(self, reason: str) -> None:
        self.cancel_reason = reason

    @override
    def close(self) -> None:
        self.close_count += 1
        if self._player is not None:
            self._player.cancel()


class ScriptedClient(EngineClient):
    """Plays the next script for each attempt, each by another worker. After the last it has no worker.

    ``next_operations``: operations of a worker that becomes ready before the next fresh look at the workers.
    ``submit_error`` is raised for each attempt, after ``submit_s``.
    """

    def __init__(self) -> None:
        self.scripts: list[Script] = []
        self.calls: list[Call] = []
        self.exclusions: list[tuple[str, ...]] = []
        self.streams: list[ScriptedStream] = []
        self.redis_is_up = True
        self.is_unreachable = False
        self.models: tuple[str, ...] = ("tiny",)
        self.state = WorkerState.READY
        self.max_model_len = 4096
        self.sampling_defaults: dict[str, float] = {}
        self.max_lora_rank = 16
        self.template_variables: tuple[str, ...] | None = None
        self.template_tokens: int | None = None
        self.operations: tuple[str, ...] = tuple(Operation)
        self.next_operations: tuple[str, ...] | None = None
        self.submit_s = 0.0
        self.submit_error: Exception | None = None

    @property
    def received_count(self) -> int:
        """The number of events that the gateway has received."""
        return sum(stream.received_count for stream in self.streams)

    @override
    async def submit(
        self, call: Call, *, attempt: int, excluded_workers: Sequence[str] = ()
    ) -> ScriptedStream:
        self.calls.append(call)
        self.exclusions.append(tuple(excluded_workers))
        await asyncio.sleep(self.submit_s)
        if self.submit_error is not None:
            raise self.submit_error
        if self.is_unreachable:
            raise TransportError("Redis can't be reached")
        if not self.scripts:
            raise NoWorkerError(call.model)
        script = [_with_document(step, call.operation) for step in self.scripts.pop(0)]
        stream = ScriptedStream(f"worker-{len(self.streams) + 1}", attempt, script)
        self.streams.append(stream)
        stream.play()
        return stream

    @override
    def workers(self) -> Sequence[Heartbeat]:
        heartbeat = ready_heartbeat(
            *self.models,
            worker_id="worker-1",
            state=self.state,
            max_model_len=self.max_model_len,
            operations=self.operations,
            sampling_defaults=self.sampling_defaults,
            template_variables=self.template_variables,
            template_tokens=self.template_tokens,
            max_lora_rank=self.max_lora_rank,
        )
        return [heartbeat] if self.models else []

    @override
    async def workers_now(self) -> Sequence[Heartbeat]:
        if self.is_unreachable:
            raise TransportError("Redis can't be reached")
        if self.next_operations is not None:
            self.operations, self.models = self.next_operations, ("tiny",)
        return self.workers()

    @override
    def is_healthy(self) -> bool:
        return self.redis_is_up


def _with_document(step: Step, operation: Operation) -> Step:
    """Return the step with a valid document in place of the placeholder."""
    if isinstance(step, Finished) and step.data == VALID_DOCUMENT:
        return msgspec.structs.replace(step, data=valid_document(operation))
    return step
