"""One request and the progress of its response: the source of its record, log line and headers."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from api.gateway.http.azure_paths import resolve_azure_path
from api.gateway.http.client_ip import scope_client_ip
from api.gateway.http.disconnect import Scope
from api.gateway.http.query_parameters import Query
from api.gateway.http.request_ids import accepted_id, new_request_id
from api.gateway.http.url_table import canonical_path
from api.openai.errors.base import ApiError
from api.openai.errors.service import EventsLost, InternalError, WorkerLost
from inference_worker.protocol.messages import Meter, Outcome
from inference_worker.protocol.prices import FREE, Prices

if TYPE_CHECKING:  # uvicorn imports the HTTP guard, and with it this module, before Django is set up
    from tenants.keys.selectors import KeyPrincipal
    from tenants.quotas.counters.interface import QuotaReservation

UNKNOWN_PATH = "unknown"
CLIENT_CLOSED_REQUEST = 499
MAX_LENGTH_DIGITS = 20
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
    """A request and its response, filled in stage by stage."""

    method: str
    path: str
    headers: Sequence[tuple[bytes, bytes]]
    client_ip: str
    correlation_id: str
    request_id: str = field(default_factory=new_request_id)
    started_at: float = field(default_factory=time.time)
    arrived_at: float = field(default_factory=time.monotonic)
    query_string: bytes = b""
    deployment: str | None = None  # the model that an Azure client names in the path
    protocol_error: ApiError | None = None
    path_template: str = UNKNOWN_PATH  # for logs and records, unlike the path: people paste keys into URLs
    path_values: Mapping[str, str] = field(default_factory=dict)  # of the template's parameters
    query: Query = field(default_factory=Query)  # the parameters that the route declares
    content_coding: str | None = None  # of a JSON body
    key_prefix: str | None = None
    principal: KeyPrincipal | None = None  # set once the key has been verified
    requested_model: str | None = None
    model: str | None = None
    prices: Prices = FREE
    is_streamed: bool = False
    last_attempt: LastAttempt = field(default_factory=LastAttempt)
    status: int = 0  # 0 until it is sent to the client
    first_token_s: float | None = None
    error_code: str | None = None
    error_param: str | None = None
    is_start_recorded: bool = False
    is_handed_over: bool = False
    # Released when the response is complete or, for a detached request, when the request ends.
    resources: ExitStack = field(default_factory=ExitStack)
    outcome: Outcome = Outcome.FAILED
    names_without_effect: tuple[str, ...] = ()  # parameters of the request
    quota: QuotaReservation | None = None
    rate_limit_fields: tuple[tuple[bytes, bytes], ...] = ()  # header fields with what remains of the limits

    def header(self, name: bytes) -> str | None:
        """Return a request header, None if absent. Repeated headers are joined, as HTTP defines it."""
        values = [value.decode("latin-1") for key, value in self.headers if key == name]
        return ", ".join(values) if values else None

    @property
    def content_length(self) -> int | None:
        """The length of the body as sent, None if it is absent or malformed."""
        text = self.header(b"content-length")
        if text is None or not (text.isascii() and text.isdigit()):
            return None
        # Python converts a limited number of digits, and no body is this long.
        return int(text.lstrip("0")[:MAX_LENGTH_DIGITS] or "0")

    @property
    def caller(self) -> KeyPrincipal:
        """The authenticated principal. Raises RuntimeError before authentication."""
        if self.principal is None:
            raise RuntimeError("the request is not authenticated yet")
        return self.principal

    @property
    def tenant_id(self) -> str:
        """The id of the authenticated tenant. Raises RuntimeError before authentication."""
        return str(self.caller.tenant_id)

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
        self.error_code, self.error_param = error.code, error.recorded_param
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
    path, deployment = resolve_azure_path(canonical_path(scope["path"]))
    exchange = Exchange(
        method=str(scope["method"])[:16],
        path=path,
        headers=tuple(scope["headers"]),
        client_ip=scope_client_ip(scope, trusted_proxies),
        correlation_id="",
        query_string=scope.get("query_string", b""),
        deployment=deployment,
        protocol_error=scope.get("extensions", {}).get(PROTOCOL_ERROR),
    )
    exchange.correlation_id = accepted_id(exchange.header(b"x-request-id")) or exchange.request_id
    return exchange
