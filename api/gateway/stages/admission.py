"""Admission: the one pipeline through which every request that costs something reaches an engine.

``receive`` authenticates the request, reads its body and occupies a request slot; ``admit`` resolves the
model, finds its workers and checks the context. An endpoint validates the body in between, and can't skip a
stage: each takes the result of the one before.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from typing import Any

from api.gateway.http.disconnect import Receive
from api.gateway.http.exchange import Exchange
from api.gateway.stages.authenticate import FindPrincipal
from api.gateway.stages.authorize import authorize
from api.gateway.stages.capacity import Capacity
from api.gateway.stages.catalogue import ReadCatalogue, context_length, find_workers
from api.gateway.stages.context_length import check_context
from api.gateway.stages.limits import Limits
from api.gateway.stages.receive import check_headers, read_body
from api.openai.validation.engine_request import EngineRequest
from api.openai.validation.json_body import parse_body
from inference_worker.client.interface import Call, EngineClient
from inference_worker.protocol.messages import Operation
from inference_worker.registry.selectors import CatalogueEntry
from tenants.selectors import KeyPrincipal

DEFAULT_CONTEXT_TOKENS = 4096  # for routing only, where neither worker nor registry knows the length


@dataclass(frozen=True, slots=True)
class ReceivedRequest:
    """An authorized request with its parsed body; its exchange holds a request slot and the body's bytes."""

    exchange: Exchange
    principal: KeyPrincipal
    body: Any
    body_bytes: int


@dataclass(frozen=True, slots=True)
class AdmittedCall:
    """A request that may be dispatched: the model it resolved to, and the call for an engine."""

    exchange: Exchange
    principal: KeyPrincipal
    entry: CatalogueEntry
    call: Call


@dataclass(frozen=True, slots=True)
class Admission:
    """The admission pipeline of a gateway process."""

    limits: Limits
    secret: bytes
    client: EngineClient
    capacity: Capacity
    find_principal: FindPrincipal
    read_catalogue: ReadCatalogue

    async def receive(self, exchange: Exchange, receive: Receive) -> ReceivedRequest:
        """Authorize the request and parse its body. Raises ApiError, Disconnected."""
        check_headers(exchange, self.limits)
        # Authenticate before reading, so that unauthenticated clients can't occupy memory.
        principal = await authorize(exchange, self.find_principal)
        body = await self._read_body(exchange, receive)
        # Only now: a body that never arrives occupies no request slot.
        exchange.resources.enter_context(self.capacity.requests.slot(exchange.tenant_id))
        return ReceivedRequest(exchange, principal, parse_body(body), len(body))

    async def admit(
        self, received: ReceivedRequest, request: EngineRequest, operation: Operation, history_bytes: int = 0
    ) -> AdmittedCall:
        """Admit a validated request. Raises ApiError.

        ``history_bytes``: size of the stored conversation that the request continues.
        """
        exchange = received.exchange
        entry = (await self.read_catalogue()).resolve(request.model, exchange.tenant_id)
        exchange.model = entry.name
        workers = await find_workers(self.client, entry, operation)
        context_tokens = context_length(entry, workers)
        check_context(request, operation, context_tokens)
        call = Call(
            request_id=exchange.request_id,
            correlation_id=exchange.correlation_id,
            operation=operation,
            model=entry.name,
            streamed=request.is_streamed,
            body=request.engine_body(
                model=entry.name, cache_salt=cache_salt(self.secret, exchange.tenant_id)
            ),
            budget_s=self.limits.total_timeout_s,
            cost_tokens=request.cost_tokens(
                received.body_bytes + history_bytes, context_tokens or DEFAULT_CONTEXT_TOKENS
            ),
        )
        return AdmittedCall(exchange, received.principal, entry, call)

    async def _read_body(self, exchange: Exchange, receive: Receive) -> bytes:
        tenant_id = exchange.tenant_id
        with self.capacity.body_reads.slot(tenant_id):
            grow = exchange.resources.enter_context(self.capacity.bodies.account(tenant_id))
            return await read_body(receive, self.limits, grow)


def cache_salt(secret: bytes, tenant_id: str) -> str:
    """Return the salt of a tenant's prefix cache, so that one tenant can't probe what another has cached.

    vLLM accepts up to 128 characters without ``@/\\``; this is 64 hexadecimal digits.
    """
    return hmac.new(secret, f"prefix-cache:{tenant_id}".encode(), hashlib.sha256).hexdigest()
