"""What the gateway sees of inference: submit a call, read its events, cancel it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from inference_worker.protocol.messages import (
    Accepted,
    Delta,
    Failed,
    Finished,
    Heartbeat,
    Operation,
)


class ClientError(Exception):
    """Base of what a client raises when an attempt can't be started."""


class NoWorkerError(ClientError):
    """No live, ready worker serves the model and has the operation (``excluded`` ones aside)."""


class TransportError(ClientError):
    """Redis can't be reached; whether the call has got through to a worker is not known."""


@dataclass(frozen=True, slots=True)
class Call:
    """One request for an engine; ``budget_s`` is what is left of its total time."""

    request_id: str
    correlation_id: str
    operation: Operation
    model: str
    streamed: bool
    body: bytes
    budget_s: float
    cost_tokens: int  # the most it can take: prompt estimate and completion limit, for routing


@dataclass(frozen=True, slots=True)
class Lost:
    """The attempt's worker or the way to it is gone; made by the client, never sent by a worker.

    ``cause``: ``worker_died``, ``events_lost`` or ``transport_lost``.
    """

    cause: str


StreamEvent: TypeAlias = Accepted | Delta | Finished | Failed | Lost


class Stream(Protocol):
    """The events of one attempt, in order, without gaps; the last is Finished, Failed or Lost."""

    worker_id: str
    attempt: int

    async def next_events(self, timeout_s: float) -> list[StreamEvent]:
        """All events that have arrived, at least one; empty after ``timeout_s`` without any."""
        ...

    def cancel(self, reason: str) -> None:
        """Ask the worker to stop; returns at once. Events may still arrive."""
        ...

    def close(self) -> None:
        """Forget the stream. Must be called exactly once; cancels it if it has not ended."""
        ...


class EngineClient(Protocol):
    """Submits calls to workers. One per gateway process."""

    async def submit(self, call: Call, *, attempt: int, excluded: Sequence[str] = ()) -> Stream:
        """Send the call to the best worker that is not ``excluded`` (worker ids).

        Raises NoWorkerError, TransportError.
        """
        ...

    def workers(self) -> Sequence[Heartbeat]:
        """The live workers as last seen (at most a second old)."""
        ...

    async def workers_now(self) -> Sequence[Heartbeat]:
        """The live workers as Redis has them: one may have become ready since. Raises TransportError."""
        ...

    def healthy(self) -> bool:
        """Whether the relay's own connections to Redis are up."""
        ...
