"""One request and the progress of its response: the source of its record, log line and headers."""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from api.gateway.http.disconnect import Scope
from api.gateway.http.request_ids import accepted_id, new_request_id
from api.gateway.http.url_table import Route
from api.openai.errors.base import ApiError
from api.openai.errors.service import EventsLost, InternalError, WorkerLost
from inference_worker.protocol.messages import Meter, Outcome

if TYPE_CHECKING:  # uvicorn imports the HTTP guard, and with it this module, before Django is set up
    from tenants.selectors import KeyPrincipal

UNKNOWN_ENDPOINT = "unknown"
CLIENT_CLOSED_REQUEST = 499
# The ASGI scope extension in which the server reports a fault in the request's head.
PROTOCOL_ERROR = "cyllm.protocol_error"


@dataclass(slots=True)
class LastAttempt:
    """The last attempt that may have reached a worker; ``number`` is 0 if none has.

    ``relayed_meter`` came with the attempt's last event. ``text_pieces`` counts the pieces of text sent to
    the client: each is at least one token, so their number is a lower bound for the attempt.
    """

    number: int = 0
    worker_id: str | None = None
    relayed_meter: Meter | None = None
    text_pieces: int = 0

    def meter(self) -> Meter | None:
        """Return the usage of the attempt as far as the gateway knows it."""
        if self.relayed_meter is None and self.text_pieces:
            return Meter(completion_tokens=self.text_pieces)
        return self.relayed_meter


@dataclass(slots=True)
class Exchange:
    """A request and its response, filled in stage by stage.

    ``endpoint`` is a route's template, never the path itself: people paste keys into URLs. ``path_values``
    are the values of its parameters. ``principal`` is set once the key has been verified. ``status`` is the
    status sent to the client, 0 until then. ``resources`` are released when the response is complete or,
    for a detached request, when the request ends.
    """

    method: str
    path: str
    headers: Sequence[tuple[bytes, bytes]]
    client_ip: str
    correlation_id: str
    request_id: str = field(default_factory=new_request_id)
    started_at: float = field(default_factory=time.time)
    arrived_at: float = field(default_factory=time.monotonic)
    query: bytes = b""
    protocol_error: ApiError | None = None
    endpoint: str = UNKNOWN_ENDPOINT
    route: Route | None = None
    path_values: Mapping[str, str] = field(default_factory=dict)
    key_prefix: str | None = None
    principal: KeyPrincipal | None = None
    model: str | None = None
    streamed: bool = False
    last_attempt: LastAttempt = field(default_factory=LastAttempt)
    status: int = 0
    first_token_s: float | None = None
    error_code: str | None = None
    is_started: bool = False
    is_handed_over: bool = False
    resources: ExitStack = field(default_factory=ExitStack)
    outcome: Outcome = Outcome.FAILED

    def header(self, name: bytes) -> str | None:
        """Return a request header, None if absent. Repeated headers are joined, as HTTP defines it."""
        values = [value.decode("latin-1") for key, value in self.headers if key == name]
        return ", ".join(values) if values else None

    @property
    def tenant_id(self) -> str:
        """The id of the authenticated tenant. Raises RuntimeError before authentication."""
        if self.principal is None:
            raise RuntimeError("the request is not authenticated yet")
        return str(self.principal.tenant_id)

    def elapsed_s(self) -> float:
        """Return the seconds since arrival."""
        return time.monotonic() - self.arrived_at

    def hand_over(self) -> Exchange:
        """Return a copy that owns the resources and will be recorded instead of this one."""
        copy = replace(self, last_attempt=LastAttempt(), resources=self.resources.pop_all())
        self.is_handed_over = True
        return copy

    def complete(self) -> None:
        """Mark the response as complete."""
        self.outcome = Outcome.COMPLETED

    def fail(self, error: ApiError) -> None:
        """Mark the request as ended by an error."""
        self.error_code = error.code
        if error.status == CLIENT_CLOSED_REQUEST:
            self.outcome = Outcome.CANCELLED
        elif isinstance(error, WorkerLost | EventsLost):
            self.outcome = Outcome.LOST
        elif isinstance(error, InternalError) or (self.last_attempt.number and error.status >= 500):
            self.outcome = Outcome.FAILED
        else:
            self.outcome = Outcome.REFUSED
        if not self.status:
            self.status = error.status


def begin_exchange(scope: Scope, trusted_proxies: int) -> Exchange:
    """Return the exchange for an ASGI HTTP scope."""
    exchange = Exchange(
        method=str(scope["method"])[:16],
        path=scope["path"],
        headers=tuple(scope["headers"]),
        client_ip="",
        correlation_id="",
        query=scope.get("query_string", b""),
        protocol_error=scope.get("extensions", {}).get(PROTOCOL_ERROR),
    )
    exchange.correlation_id = accepted_id(exchange.header(b"x-request-id")) or exchange.request_id
    peer = scope.get("client")
    exchange.client_ip = _client_ip(peer[0] if peer else "", exchange, trusted_proxies)
    return exchange


def _client_ip(peer: str, exchange: Exchange, trusted_proxies: int) -> str:
    """Return the address seen by the outermost trusted proxy; the client's own claims are not trusted."""
    forwarded = exchange.header(b"x-forwarded-for")
    if trusted_proxies and forwarded:
        hops = [hop.strip() for hop in forwarded.split(",")]
        peer = hops[-trusted_proxies] if len(hops) >= trusted_proxies else hops[0]
    try:
        return str(ipaddress.ip_address(peer))
    except ValueError:
        return ""
