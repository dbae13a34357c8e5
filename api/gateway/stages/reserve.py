"""Reservation: records a request durably before it is dispatched to a worker.

If the gateway dies, the ledger's sweep finds this fact and settles the request.
"""

from __future__ import annotations

import asyncio

import hiredis

from api.gateway.http.exchange import Exchange
from api.openai.errors.service import CoordinationUnavailable
from inference_worker.protocol.messages import RequestStarted
from inference_worker.transport.facts import FactWriter
from inference_worker.transport.redis_connection import RedisUnavailable

WRITE_TIMEOUT_S = 2.0


class Reservations:
    """Writes the facts of requests that are about to be dispatched."""

    def __init__(self, facts: FactWriter, gateway_id: str) -> None:
        self._facts, self._gateway_id = facts, gateway_id

    async def reserve(self, exchange: Exchange) -> None:
        """Record the request, once. Raises CoordinationUnavailable; nothing may be dispatched then."""
        if exchange.is_started:
            return
        try:
            async with asyncio.timeout(WRITE_TIMEOUT_S):
                await self._facts.put(started_fact(exchange, self._gateway_id))
        except (RedisUnavailable, TimeoutError, hiredis.ReplyError):
            raise CoordinationUnavailable() from None
        exchange.is_started = True


def started_fact(exchange: Exchange, gateway_id: str) -> RequestStarted:
    """Return the fact to record before the request is dispatched."""
    return RequestStarted(
        request_id=exchange.request_id,
        correlation_id=exchange.correlation_id,
        gateway_id=gateway_id,
        tenant_id=exchange.tenant_id,
        key_id=str(exchange.principal.key_id) if exchange.principal else "",
        model=exchange.model or "",
        endpoint=exchange.endpoint,
        streamed=exchange.streamed,
        started_at=exchange.started_at,
    )
