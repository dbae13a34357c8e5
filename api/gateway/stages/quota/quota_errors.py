"""The errors of requests that exceed a limit: they name it and its use, and say what helps."""

from __future__ import annotations

from api.gateway.stages.quota.call_bound import CallBound
from api.gateway.stages.quota.rate_limit_fields import duration_text
from api.gateway.stages.quota.refused_claim import RefusedClaim
from api.openai.errors.base import ApiError
from api.openai.errors.quotas import InsufficientQuota, RateLimitExceeded
from api.openai.errors.retry_after import NO_RETRY, retry_after_ms
from backoffice.display.money import dollars
from tenants.quotas.amounts import SPEND, Limit, Refusal, limit_values, seconds_left
from tenants.quotas.texts import NAMES, SUBJECTS, renewal_text

CONCURRENCY_WAIT_MS = 1000  # a guess: a running request may end at any time
PERMANENT_WAIT_MS = 60_000  # slows down clients that read nothing but Retry-After


def refusal_error(refusal: Refusal, claim: RefusedClaim) -> ApiError:
    """Return the error of a refused claim: of a limit that it exceeds by itself, or else of ``refusal``."""
    refusal = claim.permanent_refusal() or refusal
    if refusal.limit in SPEND:
        return _spend_error(refusal, claim)
    wait_ms = CONCURRENCY_WAIT_MS if refusal.limit is Limit.CONCURRENT else refusal.wait_ms
    is_permanent = refusal.wait_ms is None
    return RateLimitExceeded(
        subject=SUBJECTS[refusal.scope],
        limit_name=NAMES[refusal.limit],
        limit=_value(refusal, claim),
        used=claim.use(refusal.scope, refusal.limit),
        requested=claim.need(refusal.limit),
        advice=_permanent_rate_advice(refusal, claim) if is_permanent else _rate_advice(refusal, wait_ms),
        headers={**retry_after_ms(PERMANENT_WAIT_MS), **NO_RETRY}
        if is_permanent
        else retry_after_ms(wait_ms or 0),
    )


def _value(refusal: Refusal, claim: RefusedClaim) -> int:
    return limit_values(claim.limits[refusal.scope])[refusal.limit - 1] or 0


def _rate_advice(refusal: Refusal, wait_ms: int | None) -> str:
    if refusal.limit is Limit.CONCURRENT:
        return "Please try again when one of them has ended."
    return f"Please try again in {duration_text(wait_ms or 0)}."


def _permanent_rate_advice(refusal: Refusal, claim: RefusedClaim) -> str:
    if refusal.limit is not Limit.TOKENS or claim.bound is None:
        return "The limit admits no request. Please ask your administrator for a higher one."
    limit, use = _value(refusal, claim), claim.use(refusal.scope, refusal.limit)
    tokens_now, tokens_later = map(claim.bound.completion_within_tokens, (limit - use, limit))
    waiting, remedy = "Waiting", _smaller_request(claim.bound, tokens_now or tokens_later)
    if tokens_later and not tokens_now:
        waiting = "Waiting alone"
        remedy += " and wait up to a minute"
    return (
        f"{waiting} doesn't help: the request exceeds the limit by itself. {remedy}, or ask your "
        f"administrator for a limit of at least {claim.need(Limit.TOKENS)}."
    )


def _smaller_request(bound: CallBound, completion_tokens: int) -> str:
    """Return a way to make the request smaller. ``completion_tokens``: what suffices, 0 if nothing does."""
    completion = "the completion" if bound.choices == 1 else "each completion"
    if completion_tokens:
        return f"Please limit {completion} to {completion_tokens} tokens"
    if bound.completion_tokens:
        return f"Please shorten the input and limit {completion}"
    return "Please send less input"


def _spend_error(refusal: Refusal, claim: RefusedClaim) -> InsufficientQuota:
    is_permanent = claim.need(refusal.limit) > _value(refusal, claim)
    return InsufficientQuota(
        subject=SUBJECTS[refusal.scope],
        limit_name=NAMES[refusal.limit],
        limit=f"${dollars(_value(refusal, claim))}",
        used=f"${dollars(claim.use(refusal.scope, refusal.limit))}",
        requested=f"up to ${dollars(claim.amounts.cost)}",
        advice=_permanent_spend_advice(refusal, claim) if is_permanent else _spend_advice(refusal, claim),
        headers=retry_after_ms(seconds_left(refusal.limit, claim.unix_s) * 1000),
    )


def _spend_advice(refusal: Refusal, claim: RefusedClaim) -> str:
    renewal = f"The budget is renewed at {renewal_text(refusal.limit, claim.unix_s)}."
    tokens = claim.affordable_completion()
    if not tokens:
        return renewal
    return f"{renewal} Until then, it covers this request with at most {tokens} tokens in each completion."


def _permanent_spend_advice(refusal: Refusal, claim: RefusedClaim) -> str:
    bound, cost = claim.bound, claim.amounts.cost
    if bound is None or not _value(refusal, claim):
        return "A budget of $0 covers no request. Please ask your administrator for a larger one."
    tokens, later_tokens = claim.affordable_completion(), claim.affordable_completion_after_renewal()
    waiting, remedy = "Waiting", _smaller_request(bound, tokens or later_tokens)
    if later_tokens and not tokens:
        waiting = "Waiting alone"
        remedy += f" and wait until {renewal_text(claim.longest_shortage(), claim.unix_s)}"
    return (
        f"{waiting} doesn't help: the request can cost more than the whole budget. {remedy}, or ask your "
        f"administrator for a budget of at least ${dollars(cost)}."
    )
