"""The cost of a request: the prices of its model at admission, all the way into the sums of usage."""

from __future__ import annotations

import datetime as dt
import json
from functools import partial

import redis
from django.utils import timezone

from api.gateway.app import Gateway
from api.openai.validation.engine_request import DEFAULT_CONTEXT_TOKENS
from api.openai.validation.prompt_bound import UNKNOWN_TEMPLATE
from inference_worker.protocol.prices import Prices
from tests.gateway.conftest import Keys
from tests.gateway.harness.calls import BODIES, CHAT, chat
from tests.gateway.harness.conditions import eventually
from tests.gateway.harness.driver import call
from tests.gateway.harness.gateways import until_settled
from tests.gateway.harness.quota_setup import set_prices
from tests.gateway.harness.records import starts_of
from tests.gateway.harness.scripted import ScriptedClient
from tests.gateway.harness.scripts import chat_script
from tests.gateway.harness.threads import in_thread
from tests.gateway.models.test_adapters import NAME, register, until_listed


async def _has_prices(gateway: Gateway) -> bool:
    entry = (await gateway.endpoints.engine.admission.read_catalogue()).by_name["tiny"]
    return bool(entry.prices.completion)


async def test_a_request_costs_what_its_model_cost_when_it_was_admitted(
    gateway: Gateway, keys: Keys, client: ScriptedClient, redis_client: redis.Redis
) -> None:
    from tenants.ledger.drain import ledger_drain
    from tenants.models import ApiKey, UsageRecord
    from tenants.usage.sums import Dimension, UsagePeriod, spend_microusd, usage_groups

    def stored() -> tuple[UsageRecord, int, list[int]]:
        while ledger_drain(redis_client, consumer="tests"):
            pass
        key = ApiKey.objects.get(prefix=keys.acme.split("-")[2])
        spend = spend_microusd(key.tenant_id, key.id, timezone.now() - dt.timedelta(hours=1))
        groups = usage_groups(UsagePeriod(model="tiny"), [Dimension.KEY])
        return UsageRecord.objects.get(), spend, [group.sum.cost_microusd for group in groups]

    await in_thread(set_prices)
    client.scripts = [chat_script()]

    await eventually(partial(_has_prices, gateway))
    assert (await call(gateway, "POST", CHAT, key=keys.acme, body=BODIES[CHAT])).status == 200
    await until_settled(gateway)
    await in_thread(lambda: set_prices(9_000_000, 9_000_000))
    record, spend, sums = await in_thread(stored)
    assert (record.prompt_price, record.completion_price) == (1_000_000, 10_000_000)
    expected = record.prompt_tokens + 10 * record.completion_tokens
    assert expected > 0
    assert (record.cost_microusd, spend, sums) == (expected, expected, [expected])


async def test_the_template_that_workers_report_bounds_the_cost(
    gateway: Gateway, keys: Keys, client: ScriptedClient, redis_client: redis.Redis
) -> None:
    await in_thread(set_prices)
    client.scripts = [chat_script(), chat_script()]
    for template_tokens in (None, 31):
        client.template_tokens = template_tokens
        assert (await chat(gateway, keys.acme, max_completion_tokens=10)).status == 200
    default_cost, reported_cost = (start.reserved_microusd for start in starts_of(redis_client))
    assert default_cost - reported_cost == UNKNOWN_TEMPLATE.tokens - 31


async def test_a_model_with_a_price_and_no_known_context_gets_a_limit_for_each_completion(
    gateway: Gateway, keys: Keys, client: ScriptedClient, redis_client: redis.Redis
) -> None:
    client.max_model_len = 0
    client.scripts = [chat_script(), chat_script(), chat_script()]
    assert (await chat(gateway, keys.acme)).status == 200
    await in_thread(set_prices)
    await eventually(partial(_has_prices, gateway))
    assert (await chat(gateway, keys.acme)).status == 200
    assert (await chat(gateway, keys.acme, max_completion_tokens=7)).status == 200
    limits = [
        (body.get("max_tokens"), body.get("max_completion_tokens"))
        for body in (json.loads(call.body) for call in client.calls)
    ]
    assert limits == [(None, None), (DEFAULT_CONTEXT_TOKENS, None), (None, 7)]
    bounds = [start.reserved_microusd - 10 * DEFAULT_CONTEXT_TOKENS for start in starts_of(redis_client)]
    assert 0 < bounds[1] < 1000, "the completion's limit and the prompt"


async def test_an_adapter_has_the_prices_of_its_base_model(
    gateway: Gateway, keys: Keys, client: ScriptedClient, redis_client: redis.Redis
) -> None:
    await in_thread(set_prices)
    await register(keys)
    await until_listed(gateway, keys, NAME)
    client.scripts = [chat_script()]
    await call(gateway, "POST", CHAT, key=keys.acme, body={**BODIES[CHAT], "model": NAME})
    (start,) = starts_of(redis_client)
    assert (start.model, start.prices) == (
        NAME,
        Prices(prompt=1_000_000, cached=1_000_000, completion=10_000_000),
    )
