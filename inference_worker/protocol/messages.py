"""Messages between gateways and inference workers.

Encoding: MessagePack arrays (msgspec ``array_like``) of the tag and the fields in the order below. A field
may be added at the end with a default. Any other change needs a new ``PROTOCOL_VERSION``, which is part
of the channel names, so two versions never meet on one channel.
"""

from __future__ import annotations

import enum
from typing import TypeAlias

import msgspec

from inference_worker.protocol.faults import RequestFault
from inference_worker.protocol.prices import FREE, Prices

PROTOCOL_VERSION = 1


class Operation(enum.StrEnum):
    """An engine's operations, each one route of its HTTP API (``operations``)."""

    CHAT_COMPLETIONS = "chat.completions"
    COMPLETIONS = "completions"
    EMBEDDINGS = "embeddings"
    TOKENIZE = "tokenize"
    DETOKENIZE = "detokenize"


GENERATIONS = frozenset({Operation.CHAT_COMPLETIONS, Operation.COMPLETIONS})
TOKENIZER_OPERATIONS = frozenset({Operation.TOKENIZE, Operation.DETOKENIZE})
# Operations of a worker whose heartbeat lists none, because it predates ``Heartbeat.operations``.
DEFAULT_OPERATIONS = (Operation.CHAT_COMPLETIONS, Operation.COMPLETIONS)


class FailureKind(enum.StrEnum):
    """The cause of a failed attempt, as reported by the worker."""

    REFUSED = "refused"  # not started (draining, loading, model not served): safe to send elsewhere
    REQUEST = "request"  # the engine rejected the request; ``fault`` is the reason
    ENGINE = "engine"  # the engine failed
    CANCELLED = "cancelled"  # stopped by a Cancel
    UPSTREAM = "upstream"  # a remote engine could not be reached or closed the connection early


class Outcome(enum.StrEnum):
    """Outcome of a request or an attempt, as in usage and audit records."""

    COMPLETED = "completed"
    CANCELLED = "cancelled"
    FAILED = "failed"
    REFUSED = "refused"
    LOST = "lost"


class _Message(msgspec.Struct, frozen=True, array_like=True):
    """Base of all messages: immutable, encoded as an array in field order."""


class Meter(_Message, frozen=True, kw_only=True):
    """Usage of an attempt, counted by the worker at the engine's output. Times are in seconds.

    ``queue_s``: from arrival in the engine to first scheduling. ``first_token_s``: from arrival at the worker
    to the first token. Both are None if the engine did not get that far. ``total_s``: from arrival at the
    worker to the end.
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    queue_s: float | None = None
    first_token_s: float | None = None
    total_s: float = 0.0


# ---- gateway -> worker ---------------------------------------------------------------------------


class AdapterRef(_Message, frozen=True, kw_only=True):
    """A published LoRA adapter. ``sha256``: hex digest of its archive. ``url``: address of the archive.

    The worker loads it before the request, from its cache or from ``url``, and verifies the digest. An empty
    ``url`` means that the archive is in a folder that platform and worker share.
    """

    name: str
    base_model: str
    sha256: str
    rank: int
    url: str = ""


class Submit(_Message, frozen=True, kw_only=True, tag="submit"):
    """Run a request. ``body`` is the validated JSON body for the engine's HTTP route.

    ``adapter``: the adapter that the body's ``model`` names, None for a model of the worker itself.
    ``is_metered``: False for the platform's own requests, whose attempts are no usage.
    """

    request_id: str
    attempt: int
    reply_to: str
    operation: Operation
    model: str
    streamed: bool
    body: bytes
    correlation_id: str
    budget_s: float
    adapter: AdapterRef | None = None
    is_metered: bool = True


class Cancel(_Message, frozen=True, kw_only=True, tag="cancel"):
    """Stop every attempt of a request. Unknown ids are ignored: the request may have ended already."""

    request_id: str
    reason: str


Command: TypeAlias = Submit | Cancel


# ---- worker -> gateway ---------------------------------------------------------------------------


class Accepted(_Message, frozen=True, kw_only=True, tag="accepted"):
    """The engine has accepted the request after its own checks."""

    request_id: str
    attempt: int
    index: int


class Delta(_Message, frozen=True, kw_only=True, tag="delta"):
    """Part of a streamed response: ``data`` is one or more whole server-sent events."""

    request_id: str
    attempt: int
    index: int
    data: bytes


class Finished(_Message, frozen=True, kw_only=True, tag="finished"):
    """The response is complete. ``data``: its JSON body, empty if it was streamed."""

    request_id: str
    attempt: int
    index: int
    data: bytes
    meter: Meter


class Failed(_Message, frozen=True, kw_only=True, tag="failed"):
    """The attempt ended without a complete response.

    ``status``: HTTP status from the engine, or 0. ``detail`` is for logs only. ``fault`` is set for the kinds
    ``REQUEST`` and ``UPSTREAM`` if the worker knows it; older workers never set it.
    """

    request_id: str
    attempt: int
    index: int
    kind: FailureKind
    status: int
    detail: str
    meter: Meter
    fault: RequestFault | None = None


Event: TypeAlias = Accepted | Delta | Finished | Failed


class Frame(_Message, frozen=True, kw_only=True, tag="frame"):
    """All events of one engine step for one gateway. A frame without events is a keep-alive.

    ``lane`` identifies one session between this worker and this gateway, and ``sequence`` numbers its frames
    from 0. ``index`` numbers the events of an attempt from 0. A gap in either means loss: the streams
    affected fail, so text is never dropped silently.
    """

    worker_id: str
    lane: str
    sequence: int
    events: tuple[Event, ...]


# ---- worker directory ----------------------------------------------------------------------------


class WorkerState(enum.StrEnum):
    """State of a worker. Only a ``READY`` worker takes requests."""

    STARTING = "starting"
    LOADING = "loading"
    READY = "ready"
    DRAINING = "draining"
    FAILED = "failed"


class Heartbeat(_Message, frozen=True, kw_only=True, tag="heartbeat"):
    """A worker's entry in the worker directory, stored in Redis under a key that expires.

    None, or an empty ``dtype``: unknown.
    """

    worker_id: str
    boot: str  # identifies the incarnation of the worker's channel; messages to older ones are lost
    channel: str
    state: WorkerState
    models: tuple[str, ...]
    max_model_len: int
    running: int
    waiting: int
    stage: str  # of loading or draining
    stage_s: float  # its duration so far
    loop_lag_s: float  # since the event loop last ran; reveals a hung worker
    engine: str
    hardware: str
    written_at: float
    # As text, because a newer worker may have one that gateways don't know. Empty: ``DEFAULT_OPERATIONS``.
    operations: tuple[str, ...] = ()
    # The model's own parameters by name, for requests that omit them.
    sampling_defaults: dict[str, float] = msgspec.field(default_factory=dict)
    template_variables: tuple[str, ...] | None = None  # of the chat template
    max_lora_rank: int = 0  # of the adapters that the engine loads on demand; 0: it loads none
    adapters: tuple[str, ...] = ()  # digests of the loaded ones
    dtype: str = ""  # of the engine's computation
    kv_cache_use: float | None = None  # the used part of the key-value cache, 0 to 1
    template_tokens: int | None = None  # of a conversation with a single short message
    template_option_tokens: int | None = None  # of all texts in the template: bounds what its options add


# ---- facts: the durable stream behind usage and audit records -------------------------------------


class RequestStarted(_Message, frozen=True, kw_only=True, tag="started"):
    """A gateway admitted a request and is about to dispatch it.

    ``started_at``: Unix seconds. ``prices``: those at which it will be charged. ``reserved_*``: the most that
    it can use, as its quotas have reserved.
    """

    request_id: str
    correlation_id: str
    gateway_id: str
    tenant_id: str
    key_id: str
    model: str
    endpoint: str
    streamed: bool
    started_at: float
    prices: Prices = FREE
    reserved_tokens: int = 0
    reserved_microusd: int = 0


class AttemptMetered(_Message, frozen=True, kw_only=True, tag="metered"):
    """An attempt ended, successfully or not. Written by the worker."""

    request_id: str
    attempt: int
    worker_id: str
    outcome: Outcome
    meter: Meter
    at: float


class RequestEnded(_Message, frozen=True, kw_only=True, tag="ended"):
    """A request ended at the gateway, admitted or not. Never holds content or secrets.

    ``attempt`` is the last attempt dispatched, 0 if there was none. ``relayed`` is the meter of the last
    event, or else a lower bound: the number of text chunks sent to the client. It replaces the meter of a
    worker that died before it wrote its own fact. ``is_charged`` is false if the service failed before the
    client received output. ``error_param``: path of the parameter at fault, without names that the client
    chose, or of the limit. ``requested_model``: the client's name of the model.
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
    is_charged: bool = True
    error_param: str | None = None
    requested_model: str | None = None


# Refusals of the key, its rights or its limits: they cost a client nothing to repeat, so they are counted.
# A request that is refused for its content says nothing about its key.
REFUSAL_STATUSES = frozenset({401, 403, 429})


class RequestsRefused(_Message, frozen=True, kw_only=True, tag="refused"):
    """Requests that a gateway refused alike within a minute, apart from those with a RequestEnded each.

    ``minute_at``: Unix seconds of its beginning. ``key_prefix``: None if the key was not verified.
    ``client_network``: in CIDR notation; empty if the gateway counted too many networks in that minute.
    """

    fact_id: str
    gateway_id: str
    minute_at: int
    tenant_id: str | None
    key_id: str | None
    key_prefix: str | None
    client_network: str
    endpoint: str
    error_code: str
    status: int
    requests: int


RequestFact: TypeAlias = RequestStarted | AttemptMetered | RequestEnded
Fact: TypeAlias = RequestFact | RequestsRefused
