"""Settlement: exactly one record per request, however it ends; and the gateway's presence key."""

from __future__ import annotations

import asyncio
import logging

import hiredis

from api.gateway.http.exchange import Exchange
from api.gateway.periodic import PeriodicTask
from inference_worker.protocol import names
from inference_worker.protocol.messages import RequestEnded
from inference_worker.transport.facts import FactWriter
from inference_worker.transport.redis_connection import RedisUnavailable

logger = logging.getLogger("cyllm.request")

PRESENCE_INTERVAL_S = 1.0
COMMAND_TIMEOUT_S = 1.0


class RequestRecorder:
    """Writes facts about requests to the durable stream; buffers them while Redis is unavailable."""

    def __init__(self, redis_url: str, gateway_id: str) -> None:
        self.gateway_id = gateway_id
        self.facts = FactWriter(redis_url)
        self._presence = PeriodicTask("gateway-presence", self._refresh_presence, PRESENCE_INTERVAL_S)

    @property
    def backlog(self) -> int:
        """The number of facts that Redis has not confirmed yet."""
        return self.facts.backlog

    async def start(self) -> None:
        """Connect in the background and start to refresh the gateway's presence key."""
        await self.facts.start()
        await self._presence.start()

    async def stop(self) -> None:
        """Write the backlog, remove the presence key and disconnect."""
        await self._presence.stop()
        if not self.facts.backlog:
            await self._command("DEL", names.gateway_key(self.gateway_id))
        await self.facts.stop()

    def record_end(self, exchange: Exchange) -> None:
        """Record and log the end of a request. Doesn't block; call it once per request."""
        self.facts.add(ended_fact(exchange, self.gateway_id))
        principal = exchange.principal
        logger.info(
            "%s %s status=%d outcome=%s code=%s tenant=%s key=%s model=%s attempt=%d duration_s=%.3f",
            exchange.method,
            exchange.endpoint,
            exchange.status,
            exchange.outcome,
            exchange.error_code or "-",
            principal.tenant_slug if principal else "-",
            exchange.key_prefix or "-",
            exchange.model or "-",
            exchange.last_attempt.number,
            exchange.elapsed_s(),
        )

    async def is_healthy(self) -> bool:
        """Return whether Redis responds, for health checks."""
        return await self._command("PING")

    async def _refresh_presence(self) -> None:
        expiry_ms = int(names.GATEWAY_EXPIRY_S * 1000)
        await self._command("SET", names.gateway_key(self.gateway_id), "1", "PX", expiry_ms)

    async def _command(self, *command: str | int) -> bool:
        try:
            async with asyncio.timeout(COMMAND_TIMEOUT_S):
                await self.facts.call(*command)
        except (RedisUnavailable, TimeoutError, hiredis.ReplyError):
            return False
        return True


def ended_fact(exchange: Exchange, gateway_id: str) -> RequestEnded:
    """Return the fact to record at the end of the request."""
    principal = exchange.principal
    return RequestEnded(
        request_id=exchange.request_id,
        correlation_id=exchange.correlation_id,
        gateway_id=gateway_id,
        tenant_id=str(principal.tenant_id) if principal else None,
        key_id=str(principal.key_id) if principal else None,
        key_prefix=exchange.key_prefix,
        client_ip=exchange.client_ip,
        method=exchange.method,
        endpoint=exchange.endpoint,
        model=exchange.model,
        streamed=exchange.streamed,
        status=exchange.status,
        outcome=exchange.outcome,
        error_code=exchange.error_code,
        attempt=exchange.last_attempt.number,
        worker_id=exchange.last_attempt.worker_id,
        relayed=exchange.last_attempt.meter(),
        started_at=exchange.started_at,
        duration_s=exchange.elapsed_s(),
        first_token_s=exchange.first_token_s,
    )
