"""The advice of refused requests: whether waiting helps, and what does, with the amounts."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import pytest

from api.gateway.stages.quota.call_bound import CallBound
from api.gateway.stages.quota.quota_errors import refusal_error
from api.gateway.stages.quota.refused_claim import RefusedClaim
from api.openai.errors.base import ApiError
from inference_worker.protocol.prices import Prices
from tenants.limits.columns import NO_LIMITS, UsageLimits
from tenants.quotas.amounts import Amounts, Claim, Decision, Limit, LimitScope, Refusal, Use

UNUSED = Use(0, 0, 0, 0, 0, 0)
NOON = dt.datetime(2026, 11, 29, 12, tzinfo=dt.UTC).timestamp()
# A request of 200 tokens at most and 500 completion tokens: 200 + 4 * 500 = 2200 micro-dollars.
BOUND = CallBound(
    prompt_tokens=200,
    estimated_prompt_tokens=50,
    completion_tokens=500,
    choices=1,
    context_tokens=2000,
    prices=Prices(prompt=1_000_000, completion=4_000_000),
)
DAY, MONTH = (Refusal(LimitScope.TENANT, limit, 0) for limit in (Limit.DAY, Limit.MONTH))


def error_of(
    refusal: Refusal,
    tenant: UsageLimits,
    key: UsageLimits = NO_LIMITS,
    *,
    bound: CallBound | None = BOUND,
    use: Use = UNUSED,
    key_use: Use = UNUSED,
) -> ApiError:
    amounts = Amounts() if bound is None else bound.amounts
    claim = Claim("req_1", "tenant", "key", "20261129", amounts, needs_budget=True)
    limits = {LimitScope.TENANT: tenant, LimitScope.KEY: key}
    refused_claim = RefusedClaim(claim, bound, Decision(int(NOON), use, key_use, refusal), limits, NOON)
    return refusal_error(refusal, refused_claim)


def test_a_budget_that_will_cover_the_request_names_its_renewal() -> None:
    error = error_of(DAY, UsageLimits(spend_per_day_microusd=3000), use=replace(UNUSED, day=2900))
    assert error.message == (
        "The budget of your tenant doesn't cover this request: spend per day is limited to $0.003, $0.0029 "
        "is spent or reserved, and this request can cost up to $0.0022. The budget is renewed at "
        "2026-11-30 00:00 UTC."
    )
    assert error.headers["retry-after"] == str(12 * 3600)


def test_a_smaller_request_that_the_budget_covers_now_is_named() -> None:
    # 1400 micro-dollars are left, and those of the key 1000. The limit itself takes up to 40 bytes of prompt:
    # (1000 - 240) / 4 tokens.
    error = error_of(
        MONTH,
        UsageLimits(spend_per_month_microusd=3000),
        UsageLimits(spend_per_day_microusd=9000),
        use=replace(UNUSED, month=1600),
        key_use=replace(UNUSED, day=8000),
    )
    assert error.message.endswith(
        "The budget is renewed at 2026-12-01 00:00 UTC. Until then, it covers this request with at most "
        "190 tokens in each completion."
    )


def test_a_request_beyond_the_whole_budget_is_not_told_to_wait() -> None:
    error = error_of(DAY, UsageLimits(spend_per_day_microusd=1000, spend_per_month_microusd=2000))
    assert "spend per day is limited to $0.001, $0.00 is spent or reserved" in error.message
    assert error.message.endswith(
        "Waiting doesn't help: the request can cost more than the whole budget. Please limit the completion "
        "to 190 tokens, or ask your administrator for a budget of at least $0.0022."
    )
    assert error.headers["x-should-retry"] == "false"


def test_a_smaller_request_may_have_to_wait_for_the_budget_that_is_renewed_last() -> None:
    used_up = replace(UNUSED, day=1000, month=4000)
    limits = UsageLimits(spend_per_day_microusd=1000, spend_per_month_microusd=4000)
    error = error_of(MONTH, limits, use=used_up)
    assert "spend per day is limited to $0.001" in error.message, "the limit that no waiting changes"
    assert error.message.endswith(
        "Waiting alone doesn't help: the request can cost more than the whole budget. Please limit the "
        "completion to 190 tokens and wait until 2026-12-01 00:00 UTC, or ask your administrator for a "
        "budget of at least $0.0022."
    )


@pytest.mark.parametrize(
    ("bound", "remedy"),
    [
        (BOUND, "Please shorten the input and limit the completion, or ask"),
        (replace(BOUND, choices=2), "Please shorten the input and limit each completion, or ask"),
        (replace(BOUND, completion_tokens=0), "Please send less input, or ask"),
    ],
)
def test_an_input_that_is_too_dear_by_itself_has_to_be_shorter(bound: CallBound, remedy: str) -> None:
    error = error_of(DAY, UsageLimits(spend_per_day_microusd=100), bound=bound)
    assert remedy in error.message


def test_the_smallest_of_several_budgets_is_named() -> None:
    error = error_of(DAY, UsageLimits(spend_per_day_microusd=1000), UsageLimits(spend_per_month_microusd=900))
    assert "The budget of this API key doesn't cover this request: spend per month" in error.message


@pytest.mark.parametrize("bound", [None, BOUND, replace(BOUND, prices=Prices())])
def test_a_budget_of_zero_covers_nothing(bound: CallBound | None) -> None:
    error = error_of(DAY, UsageLimits(spend_per_day_microusd=0), bound=bound)
    assert "A budget of $0 covers no request. Please ask your administrator" in error.message


def test_a_used_up_budget_is_renewed_for_requests_without_a_call() -> None:
    error = error_of(DAY, UsageLimits(spend_per_day_microusd=10), bound=None, use=replace(UNUSED, day=10))
    assert error.message.endswith("The budget is renewed at 2026-11-30 00:00 UTC.")


@pytest.mark.parametrize(
    ("used_tokens", "waiting", "remedy"),
    [(30, "Waiting", "to 10 tokens, or"), (80, "Waiting alone", "to 40 tokens and wait up to a minute, or")],
)
def test_a_smaller_request_may_have_to_wait_for_the_tokens_of_the_last_minute(
    used_tokens: int, waiting: str, remedy: str
) -> None:
    refusal = Refusal(LimitScope.TENANT, Limit.TOKENS, None)
    use = replace(UNUSED, tokens=used_tokens)
    message = error_of(refusal, UsageLimits(tokens_per_minute=100), use=use).message
    assert f"{waiting} doesn't help: " in message
    assert f"Please limit the completion {remedy}" in message


@pytest.mark.parametrize(
    ("limit", "choices", "remedy"),
    [
        (100, 1, "Please limit the completion to 40 tokens"),
        (350, 3, "Please limit each completion to 96 tokens"),
        (50, 1, "Please shorten the input and limit the completion"),
    ],
)
def test_a_request_beyond_the_tokens_of_a_minute_is_not_told_to_wait(
    limit: int, choices: int, remedy: str
) -> None:
    bound = replace(BOUND, choices=choices)
    refusal = Refusal(LimitScope.TENANT, Limit.REQUESTS, 5000)
    error = error_of(refusal, UsageLimits(tokens_per_minute=limit), bound=bound)
    assert error.own_type() == "tokens"
    assert error.message.endswith(
        f"Waiting doesn't help: the request exceeds the limit by itself. {remedy}, or ask your administrator "
        f"for a limit of at least {bound.amounts.tokens}."
    )
    assert error.headers["x-should-retry"] == "false"


@pytest.mark.parametrize("limits", [UsageLimits(requests_per_minute=0), UsageLimits(concurrent_requests=0)])
def test_a_limit_of_zero_admits_no_request(limits: UsageLimits) -> None:
    error = error_of(Refusal(LimitScope.TENANT, Limit.CONCURRENT, None), limits)
    assert "The limit admits no request. Please ask your administrator" in error.message
    assert (error.headers["x-should-retry"], error.headers["retry-after"]) == ("false", "60")


def test_a_rate_that_frees_names_the_wait() -> None:
    refusal = Refusal(LimitScope.KEY, Limit.REQUESTS, 6500)
    error = error_of(refusal, NO_LIMITS, UsageLimits(requests_per_minute=2))
    assert error.message.endswith("Please try again in 6.5s.")
    assert (error.headers["retry-after"], error.headers["retry-after-ms"]) == ("7", "6500")
    assert "x-should-retry" not in error.headers
