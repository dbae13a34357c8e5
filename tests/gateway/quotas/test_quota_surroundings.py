"""Quotas and their surroundings: Redis without counters or scripts, the official client, formats."""

from __future__ import annotations

import asyncio
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any

import httpx
import openai
import pytest
import redis

from inference_worker.transport.redis_connection import RedisUnavailableError
from tenants.quotas.counters import names
from tests.gateway.conftest import Keys
from tests.gateway.harness.calls import BODIES, CHAT, chat, start_chat
from tests.gateway.harness.conditions import apply_change, eventually
from tests.gateway.harness.gateways import until_settled
from tests.gateway.harness.quota_setup import (
    METER_COST,
    limit_tenant,
    open_reservations,
    set_prices,
    spend_of,
)
from tests.gateway.harness.scripted import ScriptedClient
from tests.gateway.harness.scripts import body_script, chat_script
from tests.gateway.harness.threads import in_thread
from tests.site.harness.guarded import serve

if TYPE_CHECKING:  # conftest.py is imported before Django is set up
    from api.gateway.app import Gateway

pytestmark = pytest.mark.usefixtures("quick_rebuilds")
SMALL = {"max_completion_tokens": 10}


async def test_admission_is_one_call_of_redis(
    gateway: Gateway, keys: Keys, client: ScriptedClient, redis_client: redis.Redis
) -> None:
    client.scripts = [body_script() for _ in range(11)]
    await in_thread(partial(limit_tenant, keys.acme_id, requests_per_minute=100))
    assert (await chat(gateway, keys.acme)).status == 200

    def calls() -> int:
        stats: Any = redis_client.info("commandstats")
        return int(stats["cmdstat_evalsha"]["calls"])

    before = calls()
    for _ in range(10):
        assert (await chat(gateway, keys.acme)).status == 200
    assert calls() - before == 20, "one to reserve, and one to settle, which nobody waits for"


async def test_a_tenant_that_gets_its_first_limit_has_used_what_the_ledger_has(
    gateway: Gateway, keys: Keys, client: ScriptedClient, redis_client: redis.Redis
) -> None:
    await in_thread(set_prices)
    client.scripts = [body_script() for _ in range(5)]
    for _ in range(2):
        assert (await chat(gateway, keys.acme, **SMALL)).status == 200
    redis_client.delete(names.tenant_counters(keys.acme_id))  # as if another server had taken over
    assert (await chat(gateway, keys.acme, **SMALL)).status == 200
    # The scripted engine has no meter in the ledger, so its requests count and cost what is reserved.
    await apply_change(gateway, keys.acme, partial(limit_tenant, keys.acme_id, requests_per_minute=4))
    statuses = [(await chat(gateway, keys.acme, **SMALL)).status for _ in range(2)]
    assert statuses == [200, 429]


async def test_no_request_is_admitted_while_the_counters_can_not_be_read(
    gateway: Gateway, keys: Keys, client: ScriptedClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    counters = gateway.endpoints.engine.admission.quota.counters
    monkeypatch.setattr(counters._connection, "call", _unavailable)  # type: ignore[attr-defined]
    client.scripts = [body_script()]
    reply = await chat(gateway, keys.acme)
    assert (reply.status, reply.error["code"]) == (503, "redis_unavailable")
    assert client.calls == []


async def test_scripts_that_somebody_has_flushed_are_sent_again(
    gateway: Gateway, keys: Keys, client: ScriptedClient, redis_client: redis.Redis
) -> None:
    release = asyncio.Event()
    client.scripts = [*(body_script() for _ in range(3)), chat_script(until=release)]
    assert (await chat(gateway, keys.acme)).status == 200
    for _ in range(2):
        redis_client.script_flush()
        assert (await chat(gateway, keys.acme)).status == 200
    await eventually(lambda: not open_reservations(redis_client, keys.acme_id))
    stream = start_chat(gateway, keys.acme, stream=True)
    await eventually(lambda: len(client.calls) == 4)
    redis_client.script_flush()
    release.set()
    await stream.finish()
    await eventually(lambda: not open_reservations(redis_client, keys.acme_id))


@pytest.mark.parametrize("change", ["key revoked", "tenant deactivated", "limits removed"])
async def test_a_request_is_settled_whatever_becomes_of_its_key_and_tenant(
    gateway: Gateway, keys: Keys, client: ScriptedClient, redis_client: redis.Redis, change: str
) -> None:
    from tenants.keys.services import key_revoke
    from tests.gateway.harness.quota_setup import key_id_of

    changes = {
        "key revoked": lambda: key_revoke(key_id=key_id_of(keys.acme), actor="tests"),
        "tenant deactivated": lambda: limit_tenant(keys.acme_id, active=False),
        "limits removed": lambda: limit_tenant(keys.acme_id, spend_per_day_microusd=None),
    }
    await in_thread(set_prices)
    await in_thread(partial(limit_tenant, keys.acme_id, spend_per_day_microusd=100_000))
    release = asyncio.Event()
    client.scripts = [chat_script(until=release)]
    stream = start_chat(gateway, keys.acme, stream=True, **SMALL)
    await eventually(lambda: open_reservations(redis_client, keys.acme_id) == 1)
    await in_thread(changes[change])
    release.set()
    assert (await stream.finish()).status == 200
    await eventually(lambda: not open_reservations(redis_client, keys.acme_id))
    assert spend_of(redis_client, keys.acme_id) == METER_COST


@pytest.mark.case("serving.8")
async def test_the_sdk_gives_up_without_a_budget_and_waits_for_a_limit_that_frees(
    gateway: Gateway, keys: Keys, client: ScriptedClient, redis_client: redis.Redis
) -> None:
    await in_thread(partial(set_prices, 0, 10_000_000))
    await in_thread(partial(limit_tenant, keys.acme_id, spend_per_day_microusd=99))
    await in_thread(partial(limit_tenant, keys.globex_id, concurrent_requests=1))
    async with serve(gateway) as (host, port, _):
        url = f"http://{host}:{port}/v1"
        async with openai.AsyncOpenAI(base_url=url, api_key=keys.acme, max_retries=3) as sdk:
            with pytest.raises(openai.RateLimitError) as excinfo:
                await sdk.chat.completions.create(**BODIES[CHAT], max_completion_tokens=10)
        assert (excinfo.value.code, excinfo.value.type) == ("insufficient_quota", "insufficient_quota")
        release = asyncio.Event()
        client.scripts = [chat_script(until=release), body_script()]
        stream = start_chat(gateway, keys.globex, stream=True)
        await eventually(lambda: len(client.calls) == 1)

        async def end_the_stream(response: httpx.Response) -> None:
            if response.status_code == 429:
                release.set()

        http_client = openai.DefaultAsyncHttpxClient(event_hooks={"response": [end_the_stream]})
        async with openai.AsyncOpenAI(
            base_url=url, api_key=keys.globex, max_retries=3, http_client=http_client
        ) as sdk:
            assert (await sdk.chat.completions.create(**BODIES[CHAT])).choices
        assert (await stream.finish()).status == 200
    await until_settled(gateway)
    records = await in_thread(partial(audited_codes, redis_client))
    assert records["insufficient_quota"] == 1, "not repeated"
    assert records["rate_limit_exceeded"] == 1, "repeated after the time in Retry-After, once"


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [(0, "0ms"), (17, "17ms"), (1000, "1s"), (6500, "6.5s"), (60_000, "1m0s"), (7_205_000, "2h0m5s")],
)
def test_durations_have_openais_format(milliseconds: int, text: str) -> None:
    from api.gateway.stages.quota.rate_limit_fields import duration_text

    assert duration_text(milliseconds) == text


def audited_codes(client: redis.Redis) -> Counter[str]:
    """Return the number of audit records for each error code."""
    from tenants.ledger.drain import ledger_drain
    from tenants.models import AuditRecord

    while ledger_drain(client):
        pass
    return Counter(AuditRecord.objects.values_list("error_code", flat=True))


def _unavailable(*_: object) -> None:
    raise RedisUnavailableError("Redis can't be reached")
