"""An engine client that plays prepared events: only to make faults that a real worker makes rarely."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from inference_worker.client.interface import (
    Call,
    LossCause,
    Lost,
    NoWorkerError,
    StreamEvent,
    TransportError,
)
from inference_worker.protocol.faults import RequestFault
from inference_worker.protocol.messages import (
    Accepted,
    Delta,
    Failed,
    FailureKind,
    Finished,
    Heartbeat,
    Meter,
    Operation,
    WorkerState,
)

METER = Meter(prompt_tokens=7, completion_tokens=3, total_s=0.1)
FOREVER_S = 3600.0


@dataclass(frozen=True)
class Pause:
    """Silence of the worker."""

    seconds: float


Step: TypeAlias = StreamEvent | Pause | list[StreamEvent]
Script: TypeAlias = Sequence[Step]

HANG = Pause(FOREVER_S)


def accepted() -> Accepted:
    return Accepted(request_id="", attempt=1, index=0)


def delta(text: str) -> Delta:
    chunk = {"choices": [{"index": 0, "delta": {"content": text}}]}
    return Delta(request_id="", attempt=1, index=0, data=event_of(chunk))


def done() -> Delta:
    return Delta(request_id="", attempt=1, index=0, data=b"data: [DONE]\n\n")


def event_of(chunk: object) -> bytes:
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


def finished(data: bytes = b"") -> Finished:
    return Finished(request_id="", attempt=1, index=0, data=data, meter=METER)


def failed(kind: FailureKind, status: int = 0, detail: str = "", fault: RequestFault | None = None) -> Failed:
    return Failed(
        request_id="",
        attempt=1,
        index=0,
        kind=kind,
        status=status,
        detail=detail,
        meter=METER,
        fault=fault,
    )


def lost(cause: str = "worker_died") -> Lost:
    return Lost(LossCause(cause))


@dataclass
class ScriptedStream:
    """One attempt; ``cancelled`` and ``closed`` tell what the gateway did to it, ``taken`` what it has."""

    worker_id: str
    attempt: int
    script: Script
    cancelled: str = ""
    closed: int = 0
    closed_at: float = 0.0
    taken: int = 0
    _arrived: list[StreamEvent] = field(default_factory=list)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _player: asyncio.Task[None] | None = None

    def play(self) -> None:
        self._player = asyncio.create_task(self._play())

    async def _play(self) -> None:
        for step in self.script:
            if isinstance(step, Pause):
                await asyncio.sleep(step.seconds)
                continue
            self._arrived.extend(step if isinstance(step, list) else [step])
            self._wake.set()
            await asyncio.sleep(0)

    async def next_events(self, timeout_s: float) -> list[StreamEvent]:
        if not self._arrived:
            self._wake.clear()
            try:
                async with asyncio.timeout(timeout_s):
                    await self._wake.wait()
            except TimeoutError:
                return []
        events, self._arrived = self._arrived, []
        self.taken += len(events)
        return events

    def cancel(self, reason: str) -> None:
        self.cancelled = reason

    def close(self) -> None:
        self.closed += 1
        self.closed_at = asyncio.get_running_loop().time()
        if self._player is not None:
            self._player.cancel()


class ScriptedClient:
    """Gives the next script to each attempt, one worker per script; then there is no worker left."""

    def __init__(self) -> None:
        self.scripts: list[Script] = []
        self.calls: list[Call] = []
        self.excluded: list[tuple[str, ...]] = []
        self.streams: list[ScriptedStream] = []
        self.is_healthy = True
        self.unreachable = False
        self.serves: tuple[str, ...] = ("tiny",)
        self.state = WorkerState.READY
        self.max_model_len = 4096
        self.operations: tuple[str, ...] = tuple(Operation)
        self.arriving: tuple[str, ...] | None = None  # what a worker can that only a new look finds
        self.submit_s = 0.0
        self.broken: Exception | None = None

    async def submit(
        self, call: Call, *, attempt: int, excluded_workers: Sequence[str] = ()
    ) -> ScriptedStream:
        self.calls.append(call)
        self.excluded.append(tuple(excluded_workers))
        await asyncio.sleep(self.submit_s)
        if self.broken is not None:
            raise self.broken
        if self.unreachable:
            raise TransportError("Redis can't be reached")
        if not self.scripts:
            raise NoWorkerError(call.model)
        stream = ScriptedStream(f"worker-{len(self.streams) + 1}", attempt, self.scripts.pop(0))
        self.streams.append(stream)
        stream.play()
        return stream

    def workers(self) -> Sequence[Heartbeat]:
        heartbeat = Heartbeat(
            worker_id="worker-1",
            boot="b",
            channel="c",
            state=self.state,
            models=self.serves,
            max_model_len=self.max_model_len,
            running=0,
            waiting=0,
            stage="",
            stage_s=0.0,
            loop_lag_s=0.0,
            engine="scripted",
            hardware="none",
            written_at=0.0,
            operations=self.operations,
        )
        return [heartbeat] if self.serves else []

    async def workers_now(self) -> Sequence[Heartbeat]:
        if self.unreachable:
            raise TransportError("Redis can't be reached")
        if self.arriving is not None:
            self.operations, self.serves = self.arriving, ("tiny",)
        return self.workers()

    def healthy(self) -> bool:
        return self.is_healthy
