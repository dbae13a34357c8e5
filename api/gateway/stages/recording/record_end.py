"""Recording of a request's end: exactly one record per request, however it ends."""

from __future__ import annotations

import logging

from api.gateway.http.exchange import Exchange
from api.gateway.periodic import PeriodicTask
from api.gateway.stages.quota.settle import end_quota
from api.gateway.stages.recording.audit_values import audited_model, audited_param
from api.gateway.stages.recording.refusal_counts import RefusalCounts
from inference_worker.protocol.messages import Outcome, RequestEnded
from inference_worker.transport.facts import FactWriter

logger = logging.getLogger("cyllm.request")

REFUSALS_INTERVAL_S = 1.0


class RequestRecorder:
    """Writes facts about requests to the durable stream; buffers them while Redis is unavailable."""

    def __init__(self, redis_url: str, gateway_id: str) -> None:
        self.gateway_id = gateway_id
        self.facts = FactWriter(redis_url)
        self.refusals = RefusalCounts(gateway_id)
        self._writer = PeriodicTask("refusals", self._write_refusals, REFUSALS_INTERVAL_S)

    @property
    def backlog(self) -> int:
        """The number of facts that Redis has not confirmed yet."""
        return self.facts.backlog

    async def start(self) -> None:
        """Connect in the background."""
        await self.facts.start()
        await self._writer.start()

    async def stop(self) -> None:
        """Write the counts of refusals and the backlog, and disconnect."""
        await self._writer.stop()
        for fact in self.refusals.all():
            self.facts.add(fact)
        await self.facts.stop()

    async def _write_refusals(self) -> None:
        for fact in self.refusals.due():
            self.facts.add(fact)

    def record_end(self, exchange: Exchange) -> None:
        """Record and log the end of a request. Doesn't block; call it once per request.

        Repeated refusals are counted instead, and recorded every 10 s.
        """
        end_quota(exchange, is_charged=is_charged(exchange))
        if not self.refusals.count(exchange):
            self.facts.add(ended_fact(exchange, self.gateway_id))
        principal = exchange.principal
        logger.info(
            "%s %s status=%d outcome=%s code=%s tenant=%s key=%s model=%s attempt=%d duration_s=%.3f",
            exchange.method,
            exchange.path_template,
            exchange.status,
            exchange.outcome,
            exchange.error_code or "-",
            principal.tenant_slug if principal else "-",
            exchange.key_prefix or "-",
            exchange.model or "-",
            exchange.last_attempt.number,
            exchange.elapsed_s(),
        )


def is_charged(exchange: Exchange) -> bool:
    """Return whether the worker's tokens are charged: not if the service failed before any output.

    A client that disconnects ended its request itself and pays for the work that it ordered.
    """
    is_completed_or_cancelled = exchange.outcome in (Outcome.COMPLETED, Outcome.CANCELLED)
    return is_completed_or_cancelled or exchange.last_attempt.text_pieces > 0


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
        endpoint=exchange.path_template,
        model=exchange.model,
        streamed=exchange.is_streamed,
        status=exchange.status,
        outcome=exchange.outcome,
        error_code=exchange.error_code,
        attempt=exchange.last_attempt.number,
        worker_id=exchange.last_attempt.worker_id,
        relayed=exchange.last_attempt.meter(),
        started_at=exchange.started_at,
        duration_s=exchange.elapsed_s(),
        first_token_s=exchange.first_token_s,
        is_charged=is_charged(exchange),
        error_param=audited_param(exchange.error_param),
        requested_model=audited_model(exchange.requested_model),
    )
