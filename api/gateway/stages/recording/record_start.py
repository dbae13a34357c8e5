"""Recording of a request's start, durably before it is dispatched to a worker or before a long read.

If the gateway dies, the ledger's sweep finds this fact and settles the request.
"""

from __future__ import annotations

import asyncio

import hiredis

from api.gateway.http.exchange import Exchange
from api.openai.errors.service import RedisUnavailable
from inference_worker.protocol.messages import RequestStarted
from inference_worker.transport.facts import FactWriter
from inference_worker.transport.redis_connection import RedisUnavailableError

WRITE_TIMEOUT_S = 2.0


class StartRecorder:
    """Writes the facts of requests that are about to be dispatched, or to read a stream."""

    def __init__(self, facts: FactWriter, gateway_id: str) -> None:
        self._facts, self._gateway_id = facts, gateway_id

    async def record_start(self, exchange: Exchange) -> None:
        """Record the request, once. Raises RedisUnavailable: then dispatch and send nothing."""
        if exchange.is_start_recorded:
            return
        try:
            async with asyncio.timeout(WRITE_TIMEOUT_S):
                await self._facts.put(started_fact(exchange, self._gateway_id))
        except (RedisUnavailableError, TimeoutError, hiredis.ReplyError):
            raise RedisUnavailable() from None
        exchange.is_start_recorded = True


def started_fact(exchange: Exchange, gateway_id: str) -> RequestStarted:
    """Return the fact to record before the request is dispatched."""
    return RequestStarted(
        request_id=exchange.request_id,
        correlation_id=exchange.correlation_id,
        gateway_id=gateway_id,
        tenant_id=exchange.tenant_id,
        key_id=str(exchange.principal.key_id) if exchange.principal else "",
        model=exchange.model or "",
        endpoint=exchange.path_template,
        streamed=exchange.is_streamed,
        started_at=exchange.started_at,
        prices=exchange.prices,
        reserved_tokens=exchange.quota.amounts.tokens if exchange.quota else 0,
        reserved_microusd=exchange.quota.amounts.cost if exchange.quota else 0,
    )
