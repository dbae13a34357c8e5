"""The Lua scripts, compared with a plain model of the same rules."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest
import redis

from inference_worker.transport.lua_script import LuaScript
from tenants.limits.changes import LIMIT_COLUMNS
from tenants.limits.columns import NO_LIMITS, UsageLimits
from tenants.quotas.amounts import (
    MAX_COST,
    Amounts,
    Claim,
    Decision,
    Limit,
    LimitScope,
    decision,
    limit_arguments,
)
from tenants.quotas.counters import names, scripts
from tests.quotas.reference import ReferenceCounters

TENANT, KEYS = "6a4bd2f0-1111-4222-8333-444455556666", ("key-a", "key-b")
LEASE_MS = 5_000


class Counters:
    """The scripts with a clock that the test sets, since they can't wait for minutes."""

    def __init__(self, client: redis.Redis) -> None:
        self.client = client
        self.now_ms = 1_764_400_000_000
        client.hset(names.tenant_counters(TENANT), "incarnation", "one")

    def run(self, script: LuaScript, key_id: str, *arguments: Any) -> Any:
        seconds, micros = divmod(self.now_ms * 1000, 1_000_000)
        clock = f"local time = {{'{seconds}', '{micros}'}}"
        text = script.text.replace("local time = redis.call('TIME')", clock)
        assert clock in text
        keys = names.script_keys(TENANT, key_id)
        return self.client.eval(text, len(keys), *keys, *arguments)

    def reserve(
        self, claim: Claim, tenant: UsageLimits = NO_LIMITS, key: UsageLimits = NO_LIMITS
    ) -> Decision:
        amounts = claim.amounts
        reply: Sequence[Any] = self.run(
            scripts.RESERVE,
            claim.key_id,
            *("one", claim.request_id, claim.day, amounts.requests, amounts.tokens, amounts.cost),
            *(int(claim.needs_budget), LEASE_MS, *limit_arguments(tenant), *limit_arguments(key)),
        )
        verdict = decision(reply)
        assert verdict is not None
        return verdict

    def settle(self, claim: Claim, amounts: Amounts) -> int:
        arguments = (claim.request_id, amounts.requests, amounts.tokens, amounts.cost)
        return int(self.run(scripts.SETTLE, claim.key_id, *arguments))


@pytest.fixture
def counters(redis_client: redis.Redis) -> Counters:
    return Counters(redis_client)


def claim(number: int, *, key_id: str = "key-a", day: str = "20261129", **amounts: int) -> Claim:
    return Claim(f"req-{number}", TENANT, key_id, day, Amounts(**amounts))


def random_limits(generator: random.Random) -> UsageLimits:
    def maybe(low: int, high: int) -> int | None:
        return generator.randint(low, high) if generator.random() < 0.5 else None

    return UsageLimits(maybe(0, 20), maybe(50, 2000), maybe(0, 6), maybe(0, 9000), maybe(0, 20_000))


@pytest.mark.parametrize("seed", range(12))
def test_every_decision_and_every_use_is_that_of_the_plain_model(counters: Counters, seed: int) -> None:
    generator = random.Random(seed)
    reference, claims = ReferenceCounters(), list[Claim]()
    tenant = random_limits(generator)
    limits = {key_id: random_limits(generator) for key_id in KEYS}
    days = ("20261128", "20261129", "20261130", "20261201")
    for number in range(150):
        counters.now_ms += generator.choice(
            (0, 3, 400, 2_000, 9_000, 70_000 if generator.random() < 0.1 else 0)
        )
        day = days[min(number * len(days) // 150, 3)]
        key_id = generator.choice(KEYS)
        amounts = Amounts(1, generator.choice((0, generator.randint(1, 300))), generator.randint(0, 900))
        request = Claim(f"req-{number}", TENANT, key_id, day, amounts, generator.random() < 0.5)
        expected = reference.refusals(request, tenant, limits[key_id], counters.now_ms)
        verdict = counters.reserve(request, tenant, limits[key_id])
        if verdict.refusal is None:
            assert not expected
            reference.admit(request, counters.now_ms, LEASE_MS)
            claims.append(request)
        else:
            assert (verdict.refusal.scope, verdict.refusal.limit) in expected
        for scope in LimitScope:
            uses = tuple(verdict.use(scope).of(limit) for limit in Limit)
            assert uses == reference.use(request, scope, counters.now_ms)
        if claims and generator.random() < 0.6:
            settled_claim = claims.pop(generator.randrange(len(claims)))
            used_amounts = Amounts(
                generator.choice((0, 1)), generator.randint(0, 400), generator.randint(0, 900)
            )
            assert counters.settle(settled_claim, used_amounts) == 1
            assert counters.settle(settled_claim, Amounts(9, 9, 9)) == 0, "settling again changes nothing"
            reference.settle(settled_claim.request_id, used_amounts)


PER_MINUTE = UsageLimits(requests_per_minute=3, tokens_per_minute=300)


@pytest.mark.parametrize("seconds", [2, 90, 5_000, 40 * 86_400])
def test_a_clock_that_is_set_back_neither_locks_a_tenant_out_nor_admits_more(
    counters: Counters, seconds: int
) -> None:
    counters.reserve(claim(1, requests=1, tokens=100), PER_MINUTE)
    counters.now_ms += 1_000
    counters.reserve(claim(2, requests=1, tokens=100), PER_MINUTE)
    counters.now_ms -= seconds * 1_000
    assert counters.reserve(claim(3, requests=1, tokens=100), PER_MINUTE).refusal is None
    counters.now_ms += 59_000
    refusal = counters.reserve(claim(4, requests=1, tokens=100), PER_MINUTE).refusal
    assert refusal is not None
    assert refusal.wait_ms == 2_000
    counters.now_ms += refusal.wait_ms
    assert counters.reserve(claim(5, requests=1, tokens=100), PER_MINUTE).tenant.requests == 1


def test_what_is_returned_after_the_clock_was_set_back_stays_counted_for_its_minute(
    counters: Counters,
) -> None:
    counters.reserve(early := claim(1, requests=1, tokens=300, cost=900), PER_MINUTE)
    counters.now_ms -= 600_000
    counters.reserve(claim(2, requests=1), PER_MINUTE)
    counters.now_ms += 30_000
    assert counters.settle(early, Amounts(1, 10, 40)) == 1
    verdict = counters.reserve(claim(3, requests=1, tokens=1), PER_MINUTE)
    assert (verdict.tenant.tokens, verdict.tenant.day) == (300, 40)
    assert verdict.refusal is not None
    counters.now_ms += 61_000
    assert counters.reserve(claim(4, requests=1, tokens=300), PER_MINUTE).refusal is None


def test_a_clock_that_is_set_forward_frees_the_window_and_keeps_the_spend(counters: Counters) -> None:
    for number in range(3):
        counters.reserve(claim(number, requests=1, tokens=100, cost=10), PER_MINUTE)
    counters.now_ms += 10 * 365 * 86_400_000
    verdict = counters.reserve(claim(3, requests=1, tokens=100, cost=10), PER_MINUTE)
    assert (verdict.refusal, verdict.tenant.requests, verdict.tenant.month) == (None, 1, 40)


def test_a_gateway_whose_clock_is_ahead_does_not_make_others_forget_the_spend(counters: Counters) -> None:
    budget = UsageLimits(spend_per_day_microusd=100, spend_per_month_microusd=150)
    counters.reserve(claim(1, cost=100), budget)
    for number, day in enumerate(("20270115", "20270116", "20280101"), start=2):
        assert counters.reserve(claim(number, day=day, cost=10), budget).refusal is None
    refusal = counters.reserve(claim(9, cost=1), budget).refusal
    assert refusal is not None
    assert refusal.limit is Limit.DAY


def test_old_days_and_months_are_forgotten(counters: Counters) -> None:
    for number in range(60):
        year, month = divmod(number, 12)
        counters.reserve(claim(number, day=f"{2026 + year}{month + 1:02}01", cost=1))
    field_names: Any = counters.client.hkeys(names.tenant_counters(TENANT))
    day_names = sorted(name for name in field_names if name[1:].isdigit() and name[:1] in b"dm")
    assert (len(day_names), day_names[0], day_names[-1]) == (41 + 13, b"d20270801", b"m203012")


@pytest.mark.parametrize("limit", Limit)
def test_a_limit_of_zero_admits_nothing_and_one_beyond_all_numbers_everything(
    counters: Counters, limit: Limit
) -> None:
    def limited(value: int) -> UsageLimits:
        values: Any = {LIMIT_COLUMNS[limit - 1]: value}
        return UsageLimits(**values)

    request = claim(1, requests=1, tokens=1, cost=1)
    refusal = counters.reserve(request, limited(0)).refusal
    assert refusal is not None
    assert refusal.limit is limit
    assert counters.reserve(request, limited(2**63 - 1)).refusal is None


def test_the_dearest_request_is_returned_to_the_micro_dollar(counters: Counters) -> None:
    counters.reserve(dear := claim(1, requests=1, tokens=2**31, cost=MAX_COST))
    counters.reserve(claim(2, cost=7))
    assert counters.settle(dear, Amounts(1, 3, 5)) == 1
    assert counters.reserve(claim(3)).tenant.month == 12


def test_a_negative_use_makes_no_room(counters: Counters) -> None:
    counters.reserve(request := claim(1, requests=1, tokens=100, cost=100))
    assert counters.settle(request, Amounts(1, -500, -500)) == 1
    verdict = counters.reserve(claim(2, requests=1))
    assert (verdict.tenant.requests, verdict.tenant.tokens, verdict.tenant.month) == (2, 0, 0)
