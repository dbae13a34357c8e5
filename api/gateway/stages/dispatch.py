"""Dispatch: runs an admitted call to its end, reserved before it starts and limited in total time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from api.gateway.http.exchange import Exchange
from api.gateway.stages.capacity import Capacity
from api.gateway.stages.limits import Limits
from api.gateway.stages.relay import AnswerWriter, relay
from api.gateway.stages.reserve import Reservations
from api.openai.errors.service import QueueTimeout, TotalTimeout
from inference_worker.client.interface import Call, EngineClient
from inference_worker.protocol.messages import Operation

STUCK_CLIENT_GRACE_S = 1.0
TOKENIZER_OPERATIONS = frozenset({Operation.TOKENIZE, Operation.DETOKENIZE})
LARGE_TEXT_BYTES = 8192  # costs a tokenizer some milliseconds


@dataclass(frozen=True, slots=True)
class Dispatcher:
    """Runs the calls of a gateway process."""

    limits: Limits
    client: EngineClient
    capacity: Capacity
    reservations: Reservations

    async def run(self, call: Call, writer: AnswerWriter, exchange: Exchange) -> None:
        """Have an engine answer the call. Raises ApiError."""
        limit_s = self.limits.total_timeout_s
        async with self._tokenizer_turn(call, exchange):
            await self.reservations.reserve(exchange)
            try:
                # Stages have limits of their own; this one ends writing to a client that doesn't read.
                async with asyncio.timeout(limit_s + STUCK_CLIENT_GRACE_S):
                    await relay(self.client, call, writer, exchange, self.limits)
            except TimeoutError:
                raise TotalTimeout(elapsed_s=exchange.elapsed_s(), limit_s=limit_s) from None

    @asynccontextmanager
    async def _tokenizer_turn(self, call: Call, exchange: Exchange) -> AsyncIterator[None]:
        """Wait until no other large text of the tenant is at a tokenizer, which serves one text at a time."""
        async with AsyncExitStack() as turn:
            if call.operation in TOKENIZER_OPERATIONS and len(call.body) > LARGE_TEXT_BYTES:
                limit_s = self.limits.queue_timeout_s
                try:
                    async with asyncio.timeout(limit_s - exchange.elapsed_s()):
                        await turn.enter_async_context(self.capacity.tokenizer.acquire(exchange.tenant_id))
                except TimeoutError:
                    raise QueueTimeout(elapsed_s=exchange.elapsed_s(), limit_s=limit_s) from None
            yield
