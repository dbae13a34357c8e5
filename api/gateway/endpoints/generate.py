"""Every ``POST`` that an engine answers: the stages in their order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from api.gateway.http.answer import Answer
from api.gateway.http.disconnect import Receive, cancel_on_disconnect
from api.gateway.http.exchange import Exchange
from api.gateway.stages.authenticate import FindPrincipal
from api.gateway.stages.authorize import authorize, tenant_salt
from api.gateway.stages.capacity import BodyBudget, SharedSlots, TenantSemaphore, TenantSlots
from api.gateway.stages.catalogue import ReadCatalogue, able_workers, context_length
from api.gateway.stages.context_length import check_context
from api.gateway.stages.limits import Limits
from api.gateway.stages.receive import check_headers, read_body
from api.gateway.stages.relay import AnswerWriter, relay
from api.gateway.stages.settle import RequestRecorder
from api.gateway.streams.detached import DetachedRequest, DetachedRequests
from api.gateway.streams.event_log import Kind
from api.gateway.streams.log_readers import LogReaders
from api.gateway.streams.translators import PassThrough
from api.openai.errors.service import QueueTimeout, TotalTimeout
from api.openai.validation.engine_request import EngineRequest
from api.openai.validation.json_body import parse_body
from api.openai.validation.requests import BodyCheck
from inference_worker.client.interface import Call, EngineClient
from inference_worker.protocol.messages import Operation

STUCK_CLIENT_GRACE_S = 1.0
TOKENIZING = frozenset({Operation.TOKENIZE, Operation.DETOKENIZE})
TAKES_TURNS_BYTES = 8192  # some milliseconds of a tokenizer
LOG_KINDS = {Operation.CHAT_COMPLETIONS: Kind.CHAT, Operation.COMPLETIONS: Kind.COMPLETION}
# As the engine names the answer in its chunks: the request's id behind a prefix.
ID_PREFIXES = {Kind.CHAT: "chatcmpl", Kind.COMPLETION: "cmpl"}
UNKNOWN_CONTEXT = 4096  # tokens, for routing alone


@dataclass(frozen=True, slots=True)
class Generation:
    """What generating needs of the process."""

    limits: Limits
    secret: bytes
    client: EngineClient
    recorder: RequestRecorder
    places: SharedSlots
    readers: TenantSlots
    tokenizing: TenantSemaphore
    bodies: BodyBudget
    find_principal: FindPrincipal
    catalogue: ReadCatalogue
    detached: DetachedRequests
    followers: LogReaders

    async def serve(
        self, exchange: Exchange, receive: Receive, answer: Answer, operation: Operation, check: BodyCheck
    ) -> None:
        """Answer one request. Raises ApiError, Disconnected."""
        body = await self.body_of(exchange, receive)
        # Only now: bodies that never come hold no place.
        exchange.held.enter_context(self.places.take(exchange.caller))
        checked = check(parse_body(body))
        exchange.streamed = checked.streamed
        call = await self.call(exchange, checked, operation, len(body))
        if checked.detached:
            with self.followers.places.take(exchange.caller):
                await self.followers.first(await self._detach(call, exchange), receive, answer)
        else:
            await cancel_on_disconnect(receive, self.run(call, answer, exchange))

    async def body_of(self, exchange: Exchange, receive: Receive) -> bytes:
        """The body of a request whose key may generate. Raises ApiError, Disconnected."""
        check_headers(exchange, self.limits)
        # Before the body is read: who has no key makes us hold nothing.
        principal = await authorize(exchange, self.find_principal)
        with self.readers.take(str(principal.tenant_id)):
            more = exchange.held.enter_context(self.bodies.account(str(principal.tenant_id)))
            return await read_body(receive, self.limits, more)

    async def run(self, call: Call, answer: AnswerWriter, exchange: Exchange) -> None:
        """Have the engine answer. Raises ApiError."""
        total_s = self.limits.total_timeout_s
        async with self._turn(call, exchange):
            await self.recorder.started(exchange)
            try:
                # The stages have limits of their own; this one ends writing to a client that doesn't read.
                async with asyncio.timeout(total_s + STUCK_CLIENT_GRACE_S):
                    await relay(self.client, call, answer, exchange, self.limits)
            except TimeoutError:
                raise TotalTimeout(elapsed_s=exchange.elapsed_s(), limit_s=total_s) from None

    @asynccontextmanager
    async def _turn(self, call: Call, exchange: Exchange) -> AsyncIterator[None]:
        """Wait until the tenant has no other large text at a tokenizer, which serves everybody in turn."""
        async with AsyncExitStack() as held:
            if call.operation in TOKENIZING and len(call.body) > TAKES_TURNS_BYTES:
                limit_s = self.limits.queue_timeout_s
                try:
                    async with asyncio.timeout(limit_s - exchange.elapsed_s()):
                        await held.enter_async_context(self.tokenizing.take(exchange.caller))
                except TimeoutError:
                    elapsed_s = exchange.elapsed_s()
                    raise QueueTimeout(elapsed_s=elapsed_s, limit_s=limit_s) from None
            yield

    async def _detach(self, call: Call, exchange: Exchange) -> DetachedRequest:
        """The request as a task that its client need not wait for; what is held goes with it."""
        kind = LOG_KINDS[call.operation]
        log_id = stream_id(kind, exchange.request_id)
        sink = await self.detached.begin(log_id, kind, PassThrough(kind), exchange)
        own = sink.exchange
        return self.detached.run(sink, lambda: self.run(call, sink, own))

    async def call(
        self, exchange: Exchange, checked: EngineRequest, operation: Operation, body_bytes: int
    ) -> Call:
        """The call of an engine for a checked request. Raises ApiError."""
        tenant_id = exchange.caller
        entry = (await self.catalogue()).resolve(checked.model, tenant_id)
        exchange.model = entry.name
        workers = await able_workers(self.client, entry, operation)
        context = context_length(entry, workers)
        check_context(checked, operation, context)
        salt = tenant_salt(self.secret, tenant_id)
        return Call(
            request_id=exchange.request_id,
            correlation_id=exchange.correlation_id,
            operation=operation,
            model=entry.name,
            streamed=checked.streamed,
            body=checked.engine_body(model=entry.name, cache_salt=salt),
            budget_s=self.limits.total_timeout_s,
            cost_tokens=checked.cost_tokens(body_bytes, context or UNKNOWN_CONTEXT),
        )


def stream_id(kind: Kind, request_id: str) -> str:
    """The id of a stream, which is that in its chunks."""
    return f"{ID_PREFIXES[kind]}-{request_id.removeprefix('req_')}"
