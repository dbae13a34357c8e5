"""Limits of tenants and keys, enforced on requests to the API."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING

import pytest
import redis

from api.gateway.settings import Limits
from tests.gateway.conftest import LONG_LIMITS, Keys
from tests.gateway.harness.calls import BODIES, CHAT, EMBEDDINGS, chat, post, start_chat
from tests.gateway.harness.conditions import apply_change, eventually
from tests.gateway.harness.driver import Reply, call
from tests.gateway.harness.gateways import running_gateway
from tests.gateway.harness.quota_setup import (
    METER_COST,
    METER_TOKENS,
    another_key,
    counters_of,
    limit_key,
    limit_tenant,
    open_reservations,
    set_prices,
    spend_of,
)
from tests.gateway.harness.scripted import ScriptedClient
from tests.gateway.harness.scripts import Script, accepted, body_script, delta, done, finished, lost
from tests.gateway.harness.threads import in_thread
from tests.promises import assert_within, measured_again

if TYPE_CHECKING:  # conftest.py is imported before Django is set up
    from api.gateway.app import Gateway

pytestmark = pytest.mark.usefixtures("quick_rebuilds")
SMALL = {"max_completion_tokens": 10}


@pytest.fixture
def limits() -> Limits:
    return LONG_LIMITS.model_copy(update={"gateway_max_requests": 64})


def statuses(replies: list[Reply]) -> Counter[int]:
    return Counter(reply.status for reply in replies)


@pytest.mark.criterion("6.3")
@pytest.mark.case("serving.5")
@pytest.mark.case("serving.8")
@pytest.mark.parametrize("holder", ["tenant", "key"])
async def test_requests_per_minute_are_admitted_up_to_the_limit(
    gateway: Gateway, keys: Keys, client: ScriptedClient, holder: str
) -> None:
    limit, owner = (limit_tenant, keys.acme_id) if holder == "tenant" else (limit_key, keys.acme)
    await in_thread(partial(limit, owner, requests_per_minute=3))
    client.scripts = [body_script() for _ in range(3)]
    replies = [await chat(gateway, keys.acme) for _ in range(4)]
    assert [reply.status for reply in replies] == [200, 200, 200, 429]
    remaining = [reply.headers["x-ratelimit-remaining-requests"] for reply in replies]
    assert remaining == ["2", "1", "0", "0"]
    refusal = replies[-1]
    assert (refusal.error["code"], refusal.error["type"]) == ("rate_limit_exceeded", "requests")
    assert 55 < int(refusal.headers["retry-after"]) <= 61
    assert 55_000 < int(refusal.headers["retry-after-ms"]) <= 61_000
    assert refusal.headers["x-ratelimit-limit-requests"] == "3"
    assert re.fullmatch(r"1m0(\.\d+)?s|1m1s|\d\d(\.\d+)?s", refusal.headers["x-ratelimit-reset-requests"])
    subject = "your tenant" if holder == "tenant" else "this API key"
    assert (
        f"Rate limit reached for {subject} on requests per minute: limit 3, used 3, requested 1. "
        in (refusal.error["message"])
    )
    assert (await chat(gateway, keys.globex)).status == 503, "no worker is left, but another tenant is free"


@pytest.mark.criterion("6.3")
@pytest.mark.case("serving.7")
async def test_tokens_per_minute_are_admitted_up_to_the_limit_and_settled_by_the_meter(
    gateway: Gateway, keys: Keys, client: ScriptedClient, redis_client: redis.Redis
) -> None:
    """A request reserves 21 tokens of its body and 10 of its answer, and uses 10."""
    client.scripts = [body_script() for _ in range(8)]
    await in_thread(partial(limit_tenant, keys.acme_id, tokens_per_minute=100))
    replies = [await chat(gateway, keys.acme, **SMALL) for _ in range(9)]
    token_uses = [index * METER_TOKENS for index in range(9)]
    reservation = int(replies[0].headers["x-ratelimit-limit-tokens"]) - int(
        replies[0].headers["x-ratelimit-remaining-tokens"]
    )
    assert [reply.status for reply in replies] == [
        200 if use + reservation <= 100 else 429 for use in token_uses
    ]
    refusal = replies[-1]
    assert refusal.status == 429
    assert (refusal.error["code"], refusal.error["type"]) == ("rate_limit_exceeded", "tokens")
    admitted_count = statuses(replies)[200]
    assert counters_of(redis_client, keys.acme_id)["tokens"] == admitted_count * METER_TOKENS


async def test_a_request_that_exceeds_the_token_limit_by_itself_is_refused_for_good(
    gateway: Gateway, keys: Keys
) -> None:
    await in_thread(partial(limit_tenant, keys.acme_id, tokens_per_minute=1000))
    reply = await chat(gateway, keys.acme)
    assert (reply.status, reply.error["code"]) == (429, "rate_limit_exceeded")
    assert "Waiting doesn't help: the request exceeds the limit by itself." in reply.error["message"]
    (tokens,) = re.findall(r"limit the completion to (\d+) tokens", reply.error["message"])
    smaller = await chat(gateway, keys.acme, max_completion_tokens=int(tokens))
    assert smaller.error["code"] == "no_worker_available", "admitted"
    assert reply.headers["x-should-retry"] == "false"


async def _replies(calls: list[asyncio.Task[Reply]], *, refusals: int, release: asyncio.Event) -> list[Reply]:
    """Return the replies of simultaneous calls: the engine answers when so many have been refused."""
    await eventually(lambda: sum(call.done() for call in calls) == refusals)
    release.set()
    return await asyncio.gather(*calls)


@pytest.mark.criterion("6.3")
async def test_concurrent_requests_are_limited_until_one_ends(
    gateway: Gateway, second_gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    await in_thread(partial(limit_key, keys.acme, concurrent_requests=2))
    release = asyncio.Event()
    waiting_script: Script = [accepted(), release, delta("a"), done(), finished()]
    client.scripts = [waiting_script, waiting_script, body_script()]
    streams = [start_chat(gateway, keys.acme, stream=True) for _ in range(2)]
    await eventually(lambda: len(client.calls) == 2)
    refusal = await chat(second_gateway, keys.acme)
    assert (refusal.status, refusal.error["code"]) == (429, "rate_limit_exceeded")
    assert "concurrent requests: limit 2, used 2" in refusal.error["message"]
    assert refusal.headers["retry-after"] == "1"
    await streams[0].close()
    assert (await chat(gateway, keys.acme)).status == 200
    release.set()
    assert (await streams[1].finish()).status == 200


@pytest.mark.criterion("6.3")
@pytest.mark.case("serving.1")
async def test_of_two_parallel_calls_with_a_budget_for_one_only_one_is_admitted(
    gateway: Gateway, second_gateway: Gateway, keys: Keys, client: ScriptedClient, redis_client: redis.Redis
) -> None:
    await in_thread(partial(set_prices, 0, 10_000_000))
    # Each can cost 10 tokens at 10 micro-dollars.
    await in_thread(partial(limit_tenant, keys.acme_id, spend_per_day_microusd=199))
    release = asyncio.Event()
    for engine in (client, second_gateway.endpoints.engine.admission.client):
        engine.scripts = [body_script(until=release)]  # type: ignore[attr-defined]
    calls = [asyncio.create_task(chat(one, keys.acme, **SMALL)) for one in (gateway, second_gateway)]
    replies = await _replies(calls, refusals=1, release=release)
    assert statuses(list(replies)) == {200: 1, 429: 1}
    refusal = next(reply for reply in replies if reply.status == 429)
    assert (refusal.error["code"], refusal.error["type"]) == ("insufficient_quota", "insufficient_quota")
    assert refusal.headers["x-should-retry"] == "false"
    assert 0 < int(refusal.headers["retry-after"]) <= 86_400
    assert "spend per day is limited to $0.000199, $0.0001 is spent or reserved" in refusal.error["message"]
    assert spend_of(redis_client, keys.acme_id) == 30, "what the answer of three tokens cost"


@pytest.mark.case("serving.2")
async def test_the_default_limit_binds_the_first_calls_of_a_new_tenant(
    keys: Keys, redis_url: str, redis_client: redis.Redis, limits: Limits
) -> None:
    client = ScriptedClient()
    release, release_later = asyncio.Event(), asyncio.Event()
    client.scripts = [body_script(until=release), *(body_script(until=release_later) for _ in range(7))]
    defaults = limits.model_copy(update={"default_concurrent_requests": 1})
    async with running_gateway(redis_url, client, defaults) as gateway:
        await eventually(lambda: gateway.recorder.facts.is_up)
        calls = [asyncio.create_task(chat(gateway, keys.globex)) for _ in range(8)]
        replies = await _replies(calls, refusals=7, release=release)
        await apply_change(gateway, keys.globex, partial(limit_tenant, keys.globex_id, concurrent_requests=2))
        calls = [asyncio.create_task(chat(gateway, keys.globex)) for _ in range(4)]
        own = await _replies(calls, refusals=2, release=release_later)
    assert statuses(list(replies)) == {200: 1, 429: 7}
    assert statuses(list(own)) == {200: 2, 429: 2}, "the tenant's own limit replaces the default"


@pytest.mark.case("serving.3")
async def test_concurrent_completions_add_up_exactly(
    gateway: Gateway, keys: Keys, client: ScriptedClient, redis_client: redis.Redis
) -> None:
    await in_thread(set_prices)
    client.scripts = [body_script() for _ in range(40)]
    replies = await asyncio.gather(*(chat(gateway, keys.acme, **SMALL) for _ in range(40)))
    assert statuses(list(replies)) == {200: 40}
    await eventually(lambda: not open_reservations(redis_client, keys.acme_id))
    counters = counters_of(redis_client, keys.acme_id)
    assert (counters["requests"], counters["tokens"]) == (40, 40 * METER_TOKENS)
    assert spend_of(redis_client, keys.acme_id) == 40 * METER_COST


@pytest.mark.case("serving.4")
async def test_a_new_day_frees_the_daily_budget_but_not_the_monthly(
    gateway: Gateway, keys: Keys, client: ScriptedClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    from api.gateway.stages.quota import reserve

    days = iter(["20261105", "20261105", "20261106", "20261106", "20261201"])
    monkeypatch.setattr(reserve, "utc_day", lambda _: next(days))
    await in_thread(partial(set_prices, 0, 10_000_000))
    await in_thread(
        partial(limit_tenant, keys.acme_id, spend_per_day_microusd=100, spend_per_month_microusd=130)
    )
    client.scripts = [body_script() for _ in range(3)]
    replies = [await chat(gateway, keys.acme, **SMALL) for _ in range(4)]
    assert [reply.status for reply in replies] == [200, 429, 200, 429]
    assert "spend per day" in replies[1].error["message"]
    assert "spend per month" in replies[3].error["message"]
    assert (await chat(gateway, keys.acme, **SMALL)).status == 200


@pytest.mark.case("serving.6")
@pytest.mark.parametrize("path", [*BODIES, "/v1/responses/input_tokens"])
async def test_every_endpoint_that_uses_an_engine_passes_the_same_admission(
    gateway: Gateway, keys: Keys, path: str
) -> None:
    await in_thread(partial(limit_key, keys.acme, requests_per_minute=0))
    body = BODIES.get(path, BODIES["/v1/responses"])
    reply = await call(gateway, "POST", path, key=keys.acme, body=body)
    assert (reply.status, reply.error["code"]) == (429, "rate_limit_exceeded")
    assert "The limit admits no request." in reply.error["message"]


@pytest.mark.case("serving.6")
@pytest.mark.parametrize("path", [CHAT, EMBEDDINGS])
async def test_token_limits_hold_on_every_endpoint(gateway: Gateway, keys: Keys, path: str) -> None:
    await in_thread(partial(limit_key, keys.acme, tokens_per_minute=5))
    reply = await post(gateway, keys.acme, path)
    assert (reply.status, reply.error["type"]) == (429, "tokens")


@pytest.mark.case("serving.16")
@measured_again
async def test_limits_reach_every_gateway_within_a_second(
    gateway: Gateway, keys: Keys, redis_url: str, limits: Limits
) -> None:
    gateways: list[Gateway] = [gateway]
    async with (
        running_gateway(redis_url, ScriptedClient(), limits) as second,
        running_gateway(redis_url, ScriptedClient(), limits) as third,
        running_gateway(redis_url, ScriptedClient(), limits) as fourth,
    ):
        gateways += (second, third, fourth)
        await in_thread(partial(limit_key, keys.acme, requests_per_minute=None))
        for one in gateways:

            async def is_admitted(one: Gateway = one) -> bool:
                return (await chat(one, keys.acme)).status == 503  # no worker has a script

            await eventually(lambda one=one: one.recorder.facts.is_up)  # type: ignore[misc]
            await eventually(is_admitted)
        changed_at = asyncio.get_running_loop().time()
        await in_thread(partial(limit_key, keys.acme, requests_per_minute=0))
        for one in gateways:

            async def is_refused(one: Gateway = one) -> bool:
                return (await chat(one, keys.acme)).status == 429

            await eventually(is_refused)
        refused_s = asyncio.get_running_loop().time() - changed_at
    assert_within(refused_s, 1)


async def test_a_request_that_no_worker_takes_gives_everything_back(
    gateway: Gateway, keys: Keys, redis_client: redis.Redis
) -> None:
    await in_thread(set_prices)
    await in_thread(partial(limit_tenant, keys.acme_id, requests_per_minute=1))
    for _ in range(3):
        assert (await chat(gateway, keys.acme)).error["code"] == "no_worker_available"
    counters = counters_of(redis_client, keys.acme_id)
    assert not any(counters.values())
    assert open_reservations(redis_client, keys.acme_id) == 0


async def test_a_request_that_the_service_fails_costs_nothing(
    gateway: Gateway, keys: Keys, client: ScriptedClient, redis_client: redis.Redis
) -> None:
    await in_thread(set_prices)
    client.scripts = [[lost()]] * 3
    assert (await chat(gateway, keys.acme)).status == 503
    await eventually(lambda: not open_reservations(redis_client, keys.acme_id))
    assert spend_of(redis_client, keys.acme_id) == 0


async def test_a_request_that_exceeds_the_whole_budget_names_what_is_covered(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    await in_thread(set_prices)
    await in_thread(partial(limit_tenant, keys.acme_id, spend_per_day_microusd=1000))
    client.scripts = [body_script()]
    refusal = await chat(gateway, keys.acme)
    assert (refusal.status, refusal.error["code"]) == (429, "insufficient_quota")
    assert "Waiting doesn't help" in refusal.error["message"]
    assert refusal.headers["x-should-retry"] == "false"
    (tokens,) = re.findall(r"limit the completion to (\d+) tokens", refusal.error["message"])
    assert (await chat(gateway, keys.acme, max_completion_tokens=int(tokens))).status == 200


async def test_free_models_need_no_budget(gateway: Gateway, keys: Keys, client: ScriptedClient) -> None:
    await in_thread(partial(limit_tenant, keys.acme_id, spend_per_day_microusd=0))
    client.scripts = [body_script()]
    assert (await chat(gateway, keys.acme)).status == 200
    await in_thread(set_prices)
    gateway.endpoints.engine.admission.read_catalogue.__self__.clear()  # type: ignore[attr-defined]
    reply = await post(gateway, keys.acme, "/tokenize")
    assert (reply.status, reply.error["code"]) == (429, "insufficient_quota")


@pytest.mark.criterion("6.3")
async def test_the_tightest_limit_of_key_and_tenant_is_told(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    await in_thread(partial(limit_tenant, keys.acme_id, requests_per_minute=10, tokens_per_minute=50_000))
    await in_thread(partial(limit_key, keys.acme, requests_per_minute=20, tokens_per_minute=10_000))
    other = await in_thread(partial(another_key, keys.acme_id))
    client.scripts = [body_script() for _ in range(2)]
    first, second = await chat(gateway, keys.acme), await chat(gateway, other)
    assert first.headers["x-ratelimit-limit-requests"] == "10"
    assert first.headers["x-ratelimit-limit-tokens"] == "10000"
    assert second.headers["x-ratelimit-remaining-requests"] == "8"
    assert second.headers["x-ratelimit-limit-tokens"] == "50000"


async def test_a_tenant_without_limits_has_no_fields_of_limits(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    client.scripts = [body_script()]
    reply = await chat(gateway, keys.acme)
    assert not [name for name in reply.headers if name.startswith("x-ratelimit")]
