"""The typed, versioned messages between gateways and inference workers.

Encoding: MessagePack arrays (msgspec ``array_like``), a tag first, fields in the order below. A field
may be added at the end with a default; anything else needs a new ``PROTOCOL_VERSION``, which is part
of the channel names, so that two versions never meet on one channel.
"""

from __future__ import annotations

import enum
from typing import TypeAlias

import msgspec

PROTOCOL_VERSION = 1


class Operation(enum.StrEnum):
    """What the engine is asked to do; each is one route of the OpenAI API."""

    CHAT_COMPLETIONS = "chat.completions"
    COMPLETIONS = "completions"
    EMBEDDINGS = "embeddings"
    TOKENIZE = "tokenize"
    DETOKENIZE = "detokenize"


# What an engine has whose worker doesn't say: those of before ``Heartbeat.operations``.
FIRST_OPERATIONS = (Operation.CHAT_COMPLETIONS, Operation.COMPLETIONS)


class FailureKind(enum.StrEnum):
    """Why an attempt did not finish, as far as the worker can tell."""

    REFUSED = "refused"  # not taken (draining, loading, model not served): safe to send elsewhere
    REQUEST = "request"  # the engine says the request is wrong; ``status`` and ``detail`` are its answer
    ENGINE = "engine"  # the engine broke on it; ``detail`` is for logs only
    CANCELLED = "cancelled"  # stopped because a Cancel said so
    UPSTREAM = "upstream"  # a remote engine could not be reached or broke off


class Outcome(enum.StrEnum):
    """How a request or an attempt ended, in usage and audit records."""

    COMPLETED = "completed"
    CANCELLED = "cancelled"
    FAILED = "failed"
    REFUSED = "refused"
    LOST = "lost"


class _Message(msgspec.Struct, frozen=True, array_like=True):
    """Base of all messages: immutable, encoded as an array in field order."""


class Meter(_Message, frozen=True, kw_only=True):
    """What an attempt used, as counted by the worker at the engine's own output.

    Tokens are counts; times are seconds. ``None`` means that the engine never got that far.
    ``queue_s``: arrival in the engine to first scheduling. ``first_token_s``: arrival at the worker to
    first token. ``total_s``: arrival at the worker to the end.
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    queue_s: float | None = None
    first_token_s: float | None = None
    total_s: float = 0.0


# ---- gateway -> worker ---------------------------------------------------------------------------


class Submit(_Message, frozen=True, kw_only=True, tag="submit"):
    """Run this request. ``body`` is the validated JSON body for the engine's own HTTP route."""

    request_id: str
    attempt: int
    reply_to: str
    operation: Operation
    model: str
    streamed: bool
    body: bytes
    correlation_id: str
    budget_s: float


class Cancel(_Message, frozen=True, kw_only=True, tag="cancel"):
    """Stop this request, any attempt of it. Unknown ids are ignored: it may have ended already."""

    request_id: str
    reason: str


Command: TypeAlias = Submit | Cancel


# ---- worker -> gateway ---------------------------------------------------------------------------


class Accepted(_Message, frozen=True, kw_only=True, tag="accepted"):
    """The engine has taken the request: it passed the engine's own checks."""

    request_id: str
    attempt: int
    index: int


class Delta(_Message, frozen=True, kw_only=True, tag="delta"):
    """A piece of a streamed answer: ``data`` is one or more whole server-sent events."""

    request_id: str
    attempt: int
    index: int
    data: bytes


class Finished(_Message, frozen=True, kw_only=True, tag="finished"):
    """The answer is complete. ``data``: the JSON body of a non-streamed answer, else empty."""

    request_id: str
    attempt: int
    index: int
    data: bytes
    meter: Meter


class Failed(_Message, frozen=True, kw_only=True, tag="failed"):
    """The attempt is over without a complete answer. ``status``: HTTP status from the engine, or 0."""

    request_id: str
    attempt: int
    index: int
    kind: FailureKind
    status: int
    detail: str
    meter: Meter


Event: TypeAlias = Accepted | Delta | Finished | Failed


class Frame(_Message, frozen=True, kw_only=True, tag="frame"):
    """All events of one engine step for one gateway.

    ``lane`` names one opening of the way from this worker to this gateway; ``sequence`` counts its
    frames from 0. ``index`` in the events counts the events of one attempt from 0. A gap in either means
    that something was lost: the streams concerned fail, text is never left out silently. A frame without
    events is a sign of life.
    """

    worker_id: str
    lane: str
    sequence: int
    events: tuple[Event, ...]


# ---- worker registry -----------------------------------------------------------------------------


class WorkerState(enum.StrEnum):
    """Stages of a worker's life; only ``READY`` takes requests."""

    STARTING = "starting"
    LOADING = "loading"
    READY = "ready"
    DRAINING = "draining"
    FAILED = "failed"


class Heartbeat(_Message, frozen=True, kw_only=True, tag="heartbeat"):
    """What a worker says of itself; kept in Redis under a key that expires.

    ``boot`` names one life of the worker's channel: what was sent to an older one is lost.
    ``stage`` and ``stage_s`` tell what a loading worker is doing and for how long; ``loop_lag_s`` is the
    age of the event loop's last turn when this was written, so a hung worker is visible as such.
    ``operations`` are values of Operation that the engine has; text, because a newer worker may have one
    that a gateway doesn't know. Empty: ``FIRST_OPERATIONS``.
    """

    worker_id: str
    boot: str
    channel: str
    state: WorkerState
    models: tuple[str, ...]
    max_model_len: int
    running: int
    waiting: int
    stage: str
    stage_s: float
    loop_lag_s: float
    engine: str
    hardware: str
    written_at: float
    operations: tuple[str, ...] = ()


# ---- facts: the durable stream from which usage and audit records are made ------------------------


class RequestStarted(_Message, frozen=True, kw_only=True, tag="started"):
    """A gateway admitted a request and is about to dispatch it. ``started_at``: Unix seconds."""

    request_id: str
    correlation_id: str
    gateway_id: str
    tenant_id: str
    key_id: str
    model: str
    endpoint: str
    streamed: bool
    started_at: float


class AttemptMetered(_Message, frozen=True, kw_only=True, tag="metered"):
    """A worker finished with an attempt, however it ended. Written by the worker."""

    request_id: str
    attempt: int
    worker_id: str
    outcome: Outcome
    meter: Meter
    at: float


class RequestEnded(_Message, frozen=True, kw_only=True, tag="ended"):
    """A gateway is done with a request, admitted or not. Never holds content or secrets.

    ``attempt`` is the last attempt dispatched, 0 if none was. ``relayed`` is the meter that came back
    with the last event; where none came, a lower bound: the pieces of text that the client was given. It
    stands in where the worker died before writing its own fact.
    """

    request_id: str
    correlation_id: str
    gateway_id: str
    tenant_id: str | None
    key_id: str | None
    key_prefix: str | None
    client_ip: str
    method: str
    endpoint: str
    model: str | None
    streamed: bool
    status: int
    outcome: Outcome
    error_code: str | None
    attempt: int
    worker_id: str | None
    relayed: Meter | None
    started_at: float
    duration_s: float
    first_token_s: float | None


Fact: TypeAlias = RequestStarted | AttemptMetered | RequestEnded
