"""Settles the quota of a request that has ended: what it used replaces what it reserved."""

from __future__ import annotations

from api.gateway.http.exchange import Exchange
from tenants.quotas.amounts import NOTHING, Amounts
from tenants.quotas.counters.interface import QuotaReservation


def end_quota(exchange: Exchange, *, is_charged: bool) -> None:
    """Settle the request if its use is known, else leave it to the sweep. Call it once, at the end."""
    quota = exchange.quota
    if quota is None:
        return
    use = _final_use(exchange, quota, is_charged)
    if use is None:
        quota.counters.release(exchange.request_id)
    else:
        quota.counters.settle(exchange.request_id, use)


def _final_use(exchange: Exchange, quota: QuotaReservation, is_charged: bool) -> Amounts | None:
    """Return the use that the ledger will record, None if the gateway doesn't know it."""
    attempt = exchange.last_attempt
    if not attempt.number:
        return NOTHING if quota.is_returned_unused else Amounts()
    if not is_charged:
        return Amounts()
    meter = attempt.relayed_meter
    if meter is None:
        return None
    cost = exchange.prices.cost_microusd(meter.prompt_tokens, meter.cached_tokens, meter.completion_tokens)
    return Amounts(1, meter.prompt_tokens + meter.completion_tokens, cost)
