"""One request and what is known of its way so far: the source of its record, log line and headers."""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

from api.gateway.http.disconnect import Scope
from api.gateway.http.request_ids import accepted_id, new_request_id
from api.gateway.http.url_table import Route
from api.openai.errors.base import ApiError
from api.openai.errors.service import EventsLost, InternalError, WorkerLost
from inference_worker.protocol.messages import Meter, Outcome, RequestEnded, RequestStarted

UNKNOWN_ENDPOINT = "unknown"
CLIENT_CLOSED = 499
REFUSED = "cyllm.refused"  # the extension of the ASGI scope in which a server tells of a fault of the head


@dataclass(slots=True)
class Dispatch:
    """The last attempt that may have reached a worker; ``attempt`` is 0 where none has.

    ``relayed`` is the meter that came with its last event. ``pieces`` are the parts with text that the client
    was given: each is a token or more, so their number is the least that the attempt can have made.
    """

    attempt: int = 0
    worker_id: str | None = None
    relayed: Meter | None = None
    pieces: int = 0

    def meter(self) -> Meter | None:
        """What the gateway itself knows of the attempt's use."""
        if self.relayed is None and self.pieces:
            return Meter(completion_tokens=self.pieces)
        return self.relayed


@dataclass(slots=True)
class Exchange:
    """Filled in stage by stage. ``status`` is what the client was sent, 0 before that.

    ``endpoint`` is a route, never a path as it came: people paste keys into addresses. ``values`` are those
    of the route's parameters, ``query`` is the address behind the question mark. ``refused`` is a fault that
    the server found in the head. What is ``held`` is given back when the client has its answer, or at the end
    of a request that outlives its connection.
    """

    method: str
    path: str
    headers: Sequence[tuple[bytes, bytes]]
    client_ip: str
    correlation_id: str
    request_id: str = field(default_factory=new_request_id)
    started_at: float = field(default_factory=time.time)
    begun: float = field(default_factory=time.monotonic)
    query: bytes = b""
    refused: ApiError | None = None
    endpoint: str = UNKNOWN_ENDPOINT
    route: Route | None = None
    values: Mapping[str, str] = field(default_factory=dict)
    tenant_id: str | None = None
    tenant_slug: str | None = None
    key_id: str | None = None
    key_prefix: str | None = None
    model: str | None = None
    streamed: bool = False
    dispatch: Dispatch = field(default_factory=Dispatch)
    status: int = 0
    first_token_s: float | None = None
    error_code: str | None = None
    is_started: bool = False
    is_handed_over: bool = False
    held: ExitStack = field(default_factory=ExitStack)
    outcome: Outcome = Outcome.FAILED

    def header(self, name: bytes) -> str | None:
        """A request header; None if absent. Several of one name are joined, as HTTP defines it."""
        values = [value.decode("latin-1") for key, value in self.headers if key == name]
        return ", ".join(values) if values else None

    @property
    def caller(self) -> str:
        """The id of the tenant whose key it came with. Raises RuntimeError before the key was identified."""
        if self.tenant_id is None:
            raise RuntimeError("nobody knows yet whose request this is")
        return self.tenant_id

    def elapsed_s(self) -> float:
        """Seconds since arrival."""
        return time.monotonic() - self.begun

    def handed_over(self) -> Exchange:
        """A copy for who records the request from here on, with what is held; this one is not recorded."""
        copy = replace(self, dispatch=Dispatch(), held=self.held.pop_all())
        self.is_handed_over = True
        return copy

    def completed(self) -> None:
        """The answer is complete."""
        self.outcome = Outcome.COMPLETED

    def failed(self, error: ApiError) -> None:
        """The request ends with this error."""
        self.error_code = error.code
        if error.status == CLIENT_CLOSED:
            self.outcome = Outcome.CANCELLED
        elif isinstance(error, WorkerLost | EventsLost):
            self.outcome = Outcome.LOST
        elif isinstance(error, InternalError) or (self.dispatch.attempt and error.status >= 500):
            self.outcome = Outcome.FAILED
        else:
            self.outcome = Outcome.REFUSED
        if not self.status:
            self.status = error.status

    def started_fact(self, gateway_id: str) -> RequestStarted:
        """What is written before the request is dispatched."""
        return RequestStarted(
            request_id=self.request_id,
            correlation_id=self.correlation_id,
            gateway_id=gateway_id,
            tenant_id=self.caller,
            key_id=self.key_id or "",
            model=self.model or "",
            endpoint=self.endpoint,
            streamed=self.streamed,
            started_at=self.started_at,
        )

    def ended_fact(self, gateway_id: str) -> RequestEnded:
        """What is written when the request is over."""
        return RequestEnded(
            request_id=self.request_id,
            correlation_id=self.correlation_id,
            gateway_id=gateway_id,
            tenant_id=self.tenant_id,
            key_id=self.key_id,
            key_prefix=self.key_prefix,
            client_ip=self.client_ip,
            method=self.method,
            endpoint=self.endpoint,
            model=self.model,
            streamed=self.streamed,
            status=self.status,
            outcome=self.outcome,
            error_code=self.error_code,
            attempt=self.dispatch.attempt,
            worker_id=self.dispatch.worker_id,
            relayed=self.dispatch.meter(),
            started_at=self.started_at,
            duration_s=self.elapsed_s(),
            first_token_s=self.first_token_s,
        )


def begin(scope: Scope, trusted_proxies: int) -> Exchange:
    """The exchange for an ASGI HTTP scope."""
    exchange = Exchange(
        method=str(scope["method"])[:16],
        path=scope["path"],
        headers=tuple(scope["headers"]),
        client_ip="",
        correlation_id="",
        query=scope.get("query_string", b""),
    )
    exchange.refused = scope.get("extensions", {}).get(REFUSED)
    exchange.correlation_id = accepted_id(exchange.header(b"x-request-id")) or exchange.request_id
    peer = scope.get("client")
    exchange.client_ip = _client_ip(peer[0] if peer else "", exchange, trusted_proxies)
    return exchange


def _client_ip(peer: str, exchange: Exchange, trusted_proxies: int) -> str:
    """The address that the outermost trusted proxy saw; what a client itself claims is not believed."""
    forwarded = exchange.header(b"x-forwarded-for")
    if trusted_proxies and forwarded:
        hops = [hop.strip() for hop in forwarded.split(",")]
        peer = hops[-trusted_proxies] if len(hops) >= trusted_proxies else hops[0]
    try:
        return str(ipaddress.ip_address(peer))
    except ValueError:
        return ""
