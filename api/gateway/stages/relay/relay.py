"""The relay: runs an admitted call within the total time; large texts for the tokenizer take turns."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from api.gateway.capacity.process_capacity import Capacity
from api.gateway.http.exchange import Exchange
from api.gateway.settings import Limits
from api.gateway.stages.recording.record_start import StartRecorder
from api.gateway.stages.relay.attempts import run_attempts
from api.gateway.stages.relay.output_writer import OutputWriter
from api.openai.errors.base import ApiError
from api.openai.errors.service import QueueTimeout, TotalTimeout
from inference_worker.client.interface import Call, EngineClient
from inference_worker.protocol.messages import TOKENIZER_OPERATIONS

STUCK_CLIENT_GRACE_S = 1.0
LARGE_TEXT_BYTES = 8192  # takes a tokenizer several milliseconds


@dataclass(frozen=True, slots=True)
class Relay:
    """Runs admitted calls: sends them to workers and writes their events to the client or to a log."""

    limits: Limits
    client: EngineClient
    capacity: Capacity
    start_recorder: StartRecorder

    async def run(
        self,
        call: Call,
        writer: OutputWriter,
        exchange: Exchange,
        translate_error: Callable[[ApiError], ApiError] | None = None,
    ) -> None:
        """Run the call on a worker and write its events.

        Raises ApiError, as ``translate_error`` returns it for the client's request.
        """
        try:
            await self._run(call, writer, exchange)
        except ApiError as error:
            if translate_error is None:
                raise
            raise translate_error(error) from None

    async def _run(self, call: Call, writer: OutputWriter, exchange: Exchange) -> None:
        limit_s = self.limits.total_timeout_s
        async with self._tokenizer_turn(call, exchange):
            await self.start_recorder.record_start(exchange)
            try:
                # Stages have their own limits; this one also ends a write to a client that doesn't read.
                async with asyncio.timeout(limit_s + STUCK_CLIENT_GRACE_S):
                    await run_attempts(self.client, call, writer, exchange, self.limits)
            except TimeoutError:
                raise TotalTimeout(elapsed_s=exchange.elapsed_s(), limit_s=limit_s) from None

    @asynccontextmanager
    async def _tokenizer_turn(self, call: Call, exchange: Exchange) -> AsyncIterator[None]:
        """Allow one large tokenizer request of each tenant at a time."""
        async with AsyncExitStack() as turn:
            if call.operation in TOKENIZER_OPERATIONS and len(call.body) > LARGE_TEXT_BYTES:
                limit_s = self.limits.queue_timeout_s
                try:
                    async with asyncio.timeout(limit_s - exchange.elapsed_s()):
                        await turn.enter_async_context(self.capacity.tokenizer.acquire(exchange.tenant_id))
                except TimeoutError:
                    raise QueueTimeout(elapsed_s=exchange.elapsed_s(), limit_s=limit_s) from None
            yield
