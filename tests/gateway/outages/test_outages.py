"""Redis or Postgres down: 503 in OpenAI's format, not ready, no record lost, then recovery."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack

import pytest
import redis

from api.gateway.app import Gateway
from inference_worker.protocol.messages import Outcome
from tests.gateway.conftest import LONG_LIMITS, Keys
from tests.gateway.harness.calls import chat, start_chat
from tests.gateway.harness.conditions import eventually
from tests.gateway.harness.driver import call
from tests.gateway.harness.gateways import running_gateway
from tests.gateway.harness.outages import DatabaseOutage, chat_succeeds
from tests.gateway.harness.records import records_of
from tests.gateway.harness.scripted import ScriptedClient
from tests.gateway.harness.scripts import HANG, accepted
from tests.promises import assert_within, measured_again
from tests.stacks import Service


@pytest.mark.criterion("6.9")
@measured_again
async def test_without_redis_nothing_is_dispatched_and_the_gateway_recovers_within_five_seconds(
    keys: Keys, client: ScriptedClient, own_valkey: tuple[Service, str]
) -> None:
    service, url = own_valkey
    async with running_gateway(url, client, LONG_LIMITS) as gateway:
        works = chat_succeeds(gateway, keys.acme, client)
        await eventually(works)
        service.stop()
        call_count = len(client.calls)
        reply = await chat(gateway, keys.acme)
        assert (reply.status, reply.error["code"]) == (503, "redis_unavailable")
        assert reply.error["type"] == "server_error"
        assert len(client.calls) == call_count, "a request was dispatched without a durable start"
        service.start()
        started_at = time.monotonic()
        await eventually(works)
        assert_within(time.monotonic() - started_at, 5)


@pytest.mark.criterion("5.2")
async def test_a_request_that_ends_while_redis_is_down_is_recorded_later(
    keys: Keys, client: ScriptedClient, own_valkey: tuple[Service, str]
) -> None:
    service, url = own_valkey
    async with running_gateway(url, client, LONG_LIMITS) as gateway:
        await eventually(chat_succeeds(gateway, keys.acme, client))
        client.scripts = [[accepted(), HANG]]
        received_count = client.received_count
        connection = start_chat(gateway, keys.acme)
        await eventually(lambda: client.received_count > received_count)
        service.stop()
        await connection.close()
        await asyncio.sleep(0.1)
        assert gateway.recorder.backlog >= 1  # with the facts that no ledger has stored
        service.start()
        await eventually(lambda: gateway.recorder.backlog == 0)
    with redis.Redis.from_url(url) as redis_client:
        records = records_of(redis_client)
    codes = {
        record.request_id: record.error_code for record in records if record.outcome == Outcome.CANCELLED
    }
    assert list(codes.values()) == ["client_disconnected"]


async def test_a_gateway_starts_without_redis_and_becomes_ready_with_it(
    keys: Keys, client: ScriptedClient, own_valkey: tuple[Service, str]
) -> None:
    service, url = own_valkey
    service.stop()
    async with running_gateway(url, client, LONG_LIMITS) as gateway:
        reply = await call(gateway, "GET", "/health/ready")
        assert (reply.status, reply.document["components"]["redis"]["status"]) == (503, "down")
        assert (await call(gateway, "GET", "/health/live")).status == 200
        service.start()

        async def is_ready() -> bool:
            return (await call(gateway, "GET", "/health/ready")).status == 200

        await eventually(is_ready)


@pytest.mark.case("serving.10")
async def test_a_gateway_starts_without_the_database_and_becomes_ready_with_it(
    keys: Keys, client: ScriptedClient, redis_url: str, database_outage: DatabaseOutage
) -> None:
    async with AsyncExitStack() as stack:
        with database_outage():
            gateway = await stack.enter_async_context(running_gateway(redis_url, client, LONG_LIMITS))
            ready = await call(gateway, "GET", "/health/ready")
            assert (ready.status, ready.document["components"]["database"]["status"]) == (503, "down")
            reply = await chat(gateway, keys.acme)
            assert (reply.status, reply.error["code"]) == (503, "database_unavailable")
        await eventually(chat_succeeds(gateway, keys.acme, client))

        async def is_ready() -> bool:
            return (await call(gateway, "GET", "/health/ready")).status == 200

        await eventually(is_ready)


@pytest.mark.criterion("6.9")
@pytest.mark.case("serving.9")
async def test_without_the_database_a_key_is_not_invalid_but_the_service_unavailable(
    gateway: Gateway, keys: Keys, client: ScriptedClient, database_outage: DatabaseOutage
) -> None:
    works = chat_succeeds(gateway, keys.acme, client)
    assert await works()
    with database_outage():
        await asyncio.sleep(LONG_LIMITS.key_cache_s)
        reply = await chat(gateway, keys.acme)
        ready = await call(gateway, "GET", "/health/ready")
    assert (reply.status, reply.error["code"]) == (503, "database_unavailable")
    assert (ready.status, ready.document["components"]["database"]["status"]) == (503, "down")
    await eventually(works)
