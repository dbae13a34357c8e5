"""The gateway's view of inference: submit a call, read its events, cancel it."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from inference_worker.protocol.messages import (
    Accepted,
    AdapterRef,
    Delta,
    Failed,
    Finished,
    Heartbeat,
    Operation,
)


class ClientError(Exception):
    """Base of the errors of a client that can't start an attempt."""


class NoWorkerError(ClientError):
    """Raised if no live, ready worker, excluded ones aside, serves the model and has the operation."""


class TransportError(ClientError):
    """Redis can't be reached. The call may or may not have reached a worker."""


@dataclass(frozen=True, slots=True)
class Call:
    """One request for an engine.

    ``budget_s`` is the remainder of its total timeout. ``cost_tokens`` is a rough upper bound of the tokens
    it can use, for routing. ``adapter``: the adapter that ``model`` names, None for a model of the workers.
    ``is_metered``: False for the platform's own requests. ``worker_id``: the only worker that may serve it;
    empty for any.
    """

    request_id: str
    correlation_id: str
    operation: Operation
    model: str
    streamed: bool
    body: bytes
    budget_s: float
    cost_tokens: int
    adapter: AdapterRef | None = None
    is_metered: bool = True
    worker_id: str = ""


class LossCause(enum.StrEnum):
    """The cause of the loss of an attempt; also the reason in the attempt's Cancel."""

    WORKER_DIED = "worker_died"
    EVENTS_LOST = "events_lost"
    TRANSPORT_LOST = "transport_lost"


@dataclass(frozen=True, slots=True)
class Lost:
    """The loss of the attempt's worker or of the connection to it. Created by the client, never sent."""

    cause: LossCause


StreamEvent: TypeAlias = Accepted | Delta | Finished | Failed | Lost


class Stream(Protocol):
    """The events of one attempt, in order and without gaps. The last is Finished, Failed or Lost."""

    worker_id: str
    attempt: int

    async def next_events(self, timeout_s: float) -> list[StreamEvent]:
        """Wait for at least one event and return all available; an empty list after ``timeout_s``."""
        ...

    def cancel(self, reason: str) -> None:
        """Ask the worker to stop, and return at once. Events may still arrive."""
        ...

    def close(self) -> None:
        """Release the stream, and cancel it if it has not ended. Must be called exactly once."""
        ...


class EngineClient(Protocol):
    """Submits calls to workers. One per gateway process."""

    async def submit(self, call: Call, *, attempt: int, excluded_workers: Sequence[str] = ()) -> Stream:
        """Send the call to the best worker whose id is not in ``excluded_workers``.

        Raises NoWorkerError, TransportError.
        """
        ...

    def workers(self) -> Sequence[Heartbeat]:
        """Return the live workers as of the last refresh, at most a second ago."""
        ...

    async def workers_now(self) -> Sequence[Heartbeat]:
        """Return the live workers after a new refresh. Raises TransportError."""
        ...

    def is_healthy(self) -> bool:
        """Return whether the relay's connections to Redis are up."""
        ...
