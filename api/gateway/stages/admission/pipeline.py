"""Admission: the single pipeline for all requests that use an engine.

The gateway has checked headers, key and scopes. In order: receive the body, occupy a request slot, let the
endpoint validate the body, resolve the model, find its workers, check the context, weigh the request, reserve
its quota. The result is an admitted call.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

from api.gateway.capacity.pace import DISPATCH_S_PER_BYTE
from api.gateway.capacity.process_capacity import Capacity
from api.gateway.http.disconnect import Receive
from api.gateway.http.exchange import Exchange
from api.gateway.settings import Limits
from api.gateway.stages.admission.cache_salt import cache_salt
from api.gateway.stages.admission.tiers import REPORTED_NAMES, is_granted, start_priority, tier_used
from api.gateway.stages.body.read import read_request
from api.gateway.stages.models.catalogue import ReadCatalogue
from api.gateway.stages.models.context_length import check_context
from api.gateway.stages.models.workers import (
    model_context_tokens,
    model_sampling_defaults,
    model_template_size,
    names_without_effect,
    require_workers,
)
from api.gateway.stages.quota.call_bound import call_bound
from api.gateway.stages.quota.reserve import Quota
from api.openai.errors.base import ApiError
from api.openai.errors.files import FileStorageUnavailable
from api.openai.validation.engine_request import DEFAULT_CONTEXT_TOKENS, EngineRequest, request_weight
from api.openai.validation.json_shape import LARGE_BYTES
from api.openai.validation.prompt_bound import TemplateSize
from inference_worker.client.interface import Call, EngineClient
from inference_worker.protocol.messages import GENERATIONS, AdapterRef, Operation
from inference_worker.protocol.prices import FREE
from inference_worker.registry.adapter_urls import AdapterUrls
from inference_worker.registry.selectors import CatalogueEntry
from inference_worker.telemetry.masking import trace_without_messages
from tenants.choices import Tier

logger = logging.getLogger("cyllm.gateway.admission")


class PreparedRequest(Protocol):
    """A request that its endpoint has validated.

    ``history_bytes``: size of the stored conversation that it continues, and of the items that it refers to.
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


V = TypeVar("V")
R = TypeVar("R", bound=PreparedRequest)


@dataclass(frozen=True, slots=True)
class AdmittedCall(Generic[R]):
    """A request that may be dispatched.

    Its exchange holds the request slot and the body's bytes. ``request`` is the endpoint's validated form,
    ``entry`` the resolved model with its ``sampling_defaults``, and ``call`` the engine's form.
    ``service_tier``: OpenAI's name of the tier that is used.
    """

    exchange: Exchange
    request: R
    entry: CatalogueEntry
    sampling_defaults: Mapping[str, float]
    call: Call
    service_tier: str


@dataclass(frozen=True, slots=True)
class Admission:
    """The admission pipeline of a gateway process."""

    limits: Limits
    secret: bytes
    client: EngineClient
    capacity: Capacity
    read_catalogue: ReadCatalogue
    adapter_urls: AdapterUrls
    quota: Quota

    async def admit(
        self,
        exchange: Exchange,
        receive: Receive,
        operation: Operation,
        validate: Callable[[Any], V],
        prepare: Callable[[V], Awaitable[R]],
    ) -> AdmittedCall[R]:
        """Admit a request. Raises ApiError, Disconnected.

        ``validate`` checks its parsed body, in a thread if it is large; ``prepare`` adds what is stored.
        """
        value, body_bytes = await read_request(exchange, receive, self.limits, self.capacity, validate)
        request = await prepare(value)
        try:
            return await self._resolve(exchange, request, operation, body_bytes)
        except ApiError as error:
            raise request.translate_error(error) from None

    async def _resolve(
        self,
        exchange: Exchange,
        request: R,
        operation: Operation,
        body_bytes: int,
    ) -> AdmittedCall[R]:
        """Find the model and its workers, and return the call for an engine. Raises ApiError."""
        engine_request = request.engine_request
        entry = (await self.read_catalogue()).resolve(engine_request.model, exchange.caller)
        exchange.model, exchange.prices = entry.name, entry.prices
        workers = await require_workers(self.client, entry, operation)
        context_tokens = model_context_tokens(entry, workers)
        check_context(engine_request, operation, context_tokens)
        if not context_tokens and entry.prices != FREE:
            # Without a limit, nothing would bound the cost.
            engine_request = engine_request.with_limit(DEFAULT_CONTEXT_TOKENS)
        tier = tier_used(exchange.caller.tier, engine_request.service_tier)
        exchange.names_without_effect = names_without_effect(engine_request, entry, workers)
        if not is_granted(tier, engine_request.service_tier):
            exchange.names_without_effect = tuple(sorted((*exchange.names_without_effect, "service_tier")))
        adapter = None if entry.adapter is None else await self._with_url(entry.adapter)
        input_bytes = body_bytes + request.history_bytes
        template = model_template_size(entry, workers)
        cost_tokens = await self._reserve(
            exchange, engine_request, operation, input_bytes, context_tokens, template
        )
        call = Call(
            request_id=exchange.request_id,
            correlation_id=exchange.correlation_id,
            operation=operation,
            model=entry.name,
            streamed=engine_request.is_streamed,
            body=await self._engine_body(exchange, engine_request, operation, input_bytes, tier),
            budget_s=self.limits.total_timeout_s,
            cost_tokens=cost_tokens,
            adapter=adapter,
        )
        defaults = model_sampling_defaults(entry, workers)
        return AdmittedCall(exchange, request, entry, defaults, call, REPORTED_NAMES[tier])

    async def _reserve(
        self,
        exchange: Exchange,
        request: EngineRequest,
        operation: Operation,
        input_bytes: int,
        context_tokens: int,
        template: TemplateSize,
    ) -> int:
        """Weigh the request and reserve its quota. Return its tokens, for routing. Raises ApiError."""
        context = context_tokens or DEFAULT_CONTEXT_TOKENS
        cost_tokens = request.cost_tokens(input_bytes, context)
        weight = request_weight(cost_tokens, context)
        exchange.resources.enter_context(self.capacity.requests.weigh(exchange.tenant_id, weight))
        bound = call_bound(request, operation, input_bytes, context_tokens, template, exchange.prices)
        await self.quota.reserve(exchange, bound)
        return cost_tokens

    async def _with_url(self, adapter: AdapterRef) -> AdapterRef:
        """Return the adapter with the URL of its archive. Raises FileStorageUnavailable."""
        try:
            return await self.adapter_urls.with_cached_url(adapter)
        except Exception as error:  # of the storage's library, such as missing credentials
            logger.error("can't sign a URL", extra={"trace": trace_without_messages(error)})
            raise FileStorageUnavailable from None

    async def _engine_body(
        self,
        exchange: Exchange,
        engine_request: EngineRequest,
        operation: Operation,
        input_bytes: int,
        tier: Tier,
    ) -> bytes:
        """Return the engine's body. Tier and load of the tenant decide when its request starts."""
        tenant_id, priority = exchange.tenant_id, 0
        if operation in GENERATIONS:
            slots = self.capacity.requests.use_of(tenant_id)
            priority = start_priority(tier, slots, exchange.started_at)
        salt = cache_salt(self.secret, tenant_id)
        model = exchange.model or ""
        encode = partial(engine_request.engine_body, model=model, cache_salt=salt, priority=priority)
        if input_bytes <= LARGE_BYTES:
            return encode()
        body = await self.capacity.large_bodies.run(tenant_id, encode)
        self.capacity.large_bodies.pace.charge(tenant_id, len(body) * DISPATCH_S_PER_BYTE)
        return body
