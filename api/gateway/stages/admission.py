"""Admission: the single pipeline for all requests that use an engine.

In order: check the headers, authorize the key, receive the body, occupy a request slot, let the endpoint
validate the body, resolve the model, find its workers, check the context. The result is an admitted call.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from api.gateway.http.body_headers import check_body_headers
from api.gateway.http.disconnect import Receive
from api.gateway.http.exchange import Exchange
from api.gateway.settings import Limits
from api.gateway.stages.authenticate import FindPrincipal
from api.gateway.stages.authorize import authorize
from api.gateway.stages.capacity import Capacity
from api.gateway.stages.catalogue import ReadCatalogue, find_workers, model_context_tokens
from api.gateway.stages.context_length import check_context
from api.gateway.stages.receive import receive_body
from api.openai.errors.base import ApiError
from api.openai.validation.engine_request import EngineRequest
from api.openai.validation.json_body import parse_body
from inference_worker.client.interface import Call, EngineClient
from inference_worker.protocol.messages import Operation
from inference_worker.registry.selectors import CatalogueEntry
from tenants.selectors import KeyPrincipal

DEFAULT_CONTEXT_TOKENS = 4096  # for routing only, if neither worker nor registry reports the length


class PreparedRequest(Protocol):
    """A request that its endpoint has validated.

    ``history_bytes``: size of the stored conversation that it continues.
    """

    @property
    def engine_request(self) -> EngineRequest:
        """The request for the engine."""
        ...

    @property
    def history_bytes(self) -> int: ...

    def translate_error(self, error: ApiError) -> ApiError:
        """Return an error about the engine's request as one about the client's request."""
        ...


R = TypeVar("R", bound=PreparedRequest)


@dataclass(frozen=True, slots=True)
class AdmittedCall(Generic[R]):
    """A request that may be dispatched.

    Its exchange holds the request slot and the body's bytes. ``request`` is the endpoint's validated form,
    ``entry`` the resolved model, and ``call`` the engine's form.
    """

    exchange: Exchange
    principal: KeyPrincipal
    request: R
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

    async def admit(
        self,
        exchange: Exchange,
        receive: Receive,
        operation: Operation,
        prepare: Callable[[Any], Awaitable[R]],
    ) -> AdmittedCall[R]:
        """Admit a request. ``prepare`` validates its parsed body. Raises ApiError, Disconnected."""
        check_body_headers(exchange, self.limits.max_body_bytes)
        # Authorize before reading, so that unauthenticated clients can't occupy memory.
        principal = await authorize(exchange, self.find_principal)
        with self.capacity.receiving(exchange.tenant_id, exchange.resources) as grow:
            body = await receive_body(receive, self.limits, grow)
        request = await prepare(parse_body(body))
        try:
            entry, call = await self._resolve(exchange, request, operation, len(body))
        except ApiError as error:
            raise request.translate_error(error) from None
        return AdmittedCall(exchange, principal, request, entry, call)

    async def _resolve(
        self, exchange: Exchange, request: PreparedRequest, operation: Operation, body_bytes: int
    ) -> tuple[CatalogueEntry, Call]:
        """Return the model and the call for an engine. Raises ApiError."""
        engine_request, tenant_id = request.engine_request, exchange.tenant_id
        entry = (await self.read_catalogue()).resolve(engine_request.model, tenant_id)
        exchange.model = entry.name
        workers = await find_workers(self.client, entry, operation)
        context_tokens = model_context_tokens(entry, workers)
        check_context(engine_request, operation, context_tokens)
        input_bytes = body_bytes + request.history_bytes
        call = Call(
            request_id=exchange.request_id,
            correlation_id=exchange.correlation_id,
            operation=operation,
            model=entry.name,
            streamed=engine_request.is_streamed,
            body=engine_request.engine_body(model=entry.name, cache_salt=cache_salt(self.secret, tenant_id)),
            budget_s=self.limits.total_timeout_s,
            cost_tokens=engine_request.cost_tokens(input_bytes, context_tokens or DEFAULT_CONTEXT_TOKENS),
        )
        return entry, call


def cache_salt(secret: bytes, tenant_id: str) -> str:
    """Return the salt of a tenant's prefix cache, so that one tenant can't probe what another has cached.

    vLLM accepts up to 128 characters without ``@/\\``; this is 64 hexadecimal digits.
    """
    return hmac.new(secret, f"prefix-cache:{tenant_id}".encode(), hashlib.sha256).hexdigest()
