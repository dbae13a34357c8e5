"""Quotas: reserves the most that a request can use within the limits of its key and tenant, or refuses it.

One Redis call checks and reserves. At the end, the reservation is replaced by what the worker metered. If
the gateway doesn't know the meter, it only ends the lease, and the ledger's sweep settles the request.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import redis

from api.gateway.http.exchange import Exchange
from api.gateway.stages.quota.call_bound import CallBound
from api.gateway.stages.quota.quota_errors import refusal_error
from api.gateway.stages.quota.rate_limit_fields import rate_limit_fields
from api.gateway.stages.quota.refused_claim import RefusedClaim
from api.openai.errors.service import RedisUnavailable
from inference_worker.protocol.prices import FREE
from inference_worker.transport.redis_connection import RedisUnavailableError
from tenants.quotas.amounts import Amounts, Claim, LimitScope, utc_day, with_defaults
from tenants.quotas.counters.interface import Counters, QuotaReservation
from tenants.quotas.settings import QuotaDefaults

logger = logging.getLogger("cyllm.gateway.quota")


@dataclass(frozen=True, slots=True)
class Quota:
    """The quota stage. ``defaults`` apply to tenants without limits of their own."""

    counters: Counters
    defaults: QuotaDefaults

    async def reserve(self, exchange: Exchange, bound: CallBound | None) -> None:
        """Reserve what an engine's call can use. Raises ApiError: 429 for a limit, 503 without Redis."""
        await self._reserve(exchange, bound, needs_budget=exchange.prices != FREE)
        exchange.quota = QuotaReservation(self.counters, _amounts(bound))

    async def count(self, exchange: Exchange) -> None:
        """Count a request without a call, such as an upload. It needs a budget that is not exhausted."""
        await self._reserve(exchange, None, needs_budget=True)
        exchange.quota = QuotaReservation(self.counters, _amounts(None), is_returned_unused=False)

    async def _reserve(self, exchange: Exchange, bound: CallBound | None, *, needs_budget: bool) -> None:
        principal = exchange.caller
        claim = Claim(
            exchange.request_id,
            str(principal.tenant_id),
            str(principal.key_id),
            utc_day(exchange.started_at),
            _amounts(bound),
            needs_budget,
        )
        tenant_limits = with_defaults(principal.tenant_limits, self.defaults)
        limits = {LimitScope.TENANT: tenant_limits, LimitScope.KEY: principal.key_limits}
        try:
            verdict = await self.counters.reserve(claim, tenant_limits, principal.key_limits)
        except (RedisUnavailableError, TimeoutError, redis.RedisError) as error:
            logger.debug("quota counters unavailable: %s", type(error).__name__)
            raise RedisUnavailable() from None
        exchange.rate_limit_fields = rate_limit_fields(verdict, tenant_limits, principal.key_limits)
        if verdict.refusal is not None:
            refused_claim = RefusedClaim(claim, bound, verdict, limits, exchange.started_at)
            raise refusal_error(verdict.refusal, refused_claim)


def _amounts(bound: CallBound | None) -> Amounts:
    return Amounts() if bound is None else bound.amounts
