"""Redis or Postgres that accepts connections and never answers: 503 within the timeout, then recovery."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
import redis

from api.gateway.app import Gateway
from api.gateway.settings import Limits
from api.gateway.stages.quota.reserve import Quota
from api.gateway.stages.recording.record_start import WRITE_TIMEOUT_S
from deploy.local.processes.supervisor import Supervisor
from inference_worker.protocol.messages import Outcome
from tests.gateway.conftest import SHORT_LIMITS, Keys
from tests.gateway.harness.calls import chat, resumable_chat
from tests.gateway.harness.conditions import eventually
from tests.gateway.harness.driver import Reply, call
from tests.gateway.harness.gateways import running_gateway
from tests.gateway.harness.outages import chat_succeeds, suspended
from tests.gateway.harness.records import records_of
from tests.gateway.harness.scripted import ScriptedClient
from tests.gateway.harness.scripts import chat_script
from tests.promises import assert_within, measured_again
from tests.stacks import Service

DATABASE_TIMEOUT_S = 0.6


@pytest.fixture
def limits() -> Limits:
    return SHORT_LIMITS.model_copy(update={"database_timeout_s": DATABASE_TIMEOUT_S})


async def _reserve_nothing(*_: object) -> None:
    """Let Redis stop after the reservation."""


async def _timed_chat(gateway: Gateway, key: str) -> tuple[Reply, float]:
    """Make a chat request and return its reply and its duration."""
    start = time.monotonic()
    reply = await chat(gateway, key)
    return reply, time.monotonic() - start


@pytest.mark.criterion("6.9")
@measured_again
async def test_a_hanging_database_is_a_503_within_its_timeout_for_everyone(
    gateway: Gateway, keys: Keys, client: ScriptedClient, test_servers: Supervisor
) -> None:
    works = chat_succeeds(gateway, keys.acme, client)
    assert await works()
    await asyncio.sleep(SHORT_LIMITS.key_cache_s)
    pid = test_servers.pid("postgres")
    assert pid is not None
    with suspended(pid):
        # More requests than database threads, so some wait for a thread and not for the database.
        replies = await asyncio.gather(*(_timed_chat(gateway, keys.acme) for _ in range(12)))
        later_reply = await _timed_chat(gateway, keys.globex)
        ready = await call(gateway, "GET", "/health/ready")
        live = await call(gateway, "GET", "/health/live")
    for reply, _ in (*replies, later_reply):
        assert (reply.status, reply.error["code"]) == (503, "database_unavailable")
        assert reply.headers["retry-after"]
    assert (ready.status, ready.document["components"]["database"]["status"]) == (503, "down")
    assert live.status == 200
    await eventually(works)
    assert gateway.capacity.requests.in_use == 0
    assert_within(max(duration_s for _, duration_s in (*replies, later_reply)), 2 * DATABASE_TIMEOUT_S + 1.5)


@pytest.mark.criterion("6.9")
@measured_again
async def test_a_hanging_redis_is_a_503_within_its_timeout_and_nothing_is_dispatched(
    keys: Keys, client: ScriptedClient, own_valkey: tuple[Service, str]
) -> None:
    service, url = own_valkey
    async with running_gateway(url, client, SHORT_LIMITS) as gateway:
        works = chat_succeeds(gateway, keys.acme, client)
        await eventually(works)
        call_count = len(client.calls)
        assert service.process is not None
        with suspended(service.process.pid):
            replies = await asyncio.gather(*(_timed_chat(gateway, keys.acme) for _ in range(6)))
            ready = await call(gateway, "GET", "/health/ready")
        assert len(client.calls) == call_count, "a request was dispatched without a durable start"
        for reply, _ in replies:
            assert (reply.status, reply.error["code"]) == (503, "redis_unavailable")
        assert (ready.status, ready.document["components"]["redis"]["status"]) == (503, "down")
        await eventually(works)
        # Each record reaches Redis exactly once after the recovery.
        await eventually(lambda: gateway.recorder.backlog == 0)
    with redis.Redis.from_url(url) as redis_client:
        request_ids = {reply.headers["x-request-id"] for reply, _ in replies}
        records = [record for record in records_of(redis_client) if record.request_id in request_ids]
    assert {record.error_code for record in records} == {"redis_unavailable"}
    assert len(records) == len(request_ids) == 6
    assert {record.outcome for record in records} == {Outcome.REFUSED}
    assert_within(max(duration_s for _, duration_s in replies), WRITE_TIMEOUT_S + 2)


async def test_a_request_whose_start_is_not_recorded_is_a_503_and_is_not_dispatched(
    keys: Keys, client: ScriptedClient, own_valkey: tuple[Service, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    service, url = own_valkey
    async with running_gateway(url, client, SHORT_LIMITS) as gateway:
        await eventually(chat_succeeds(gateway, keys.acme, client))
        monkeypatch.setattr(Quota, "reserve", _reserve_nothing)
        call_count = len(client.calls)
        assert service.process is not None
        with suspended(service.process.pid):
            reply = await chat(gateway, keys.acme)
    assert (reply.status, reply.error["code"]) == (503, "redis_unavailable")
    assert len(client.calls) == call_count


async def test_a_stream_created_after_the_timeout_does_not_count_as_running(
    keys: Keys,
    client: ScriptedClient,
    own_valkey: tuple[Service, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    service, url = own_valkey
    async with running_gateway(url, client, SHORT_LIMITS) as gateway:
        await eventually(chat_succeeds(gateway, keys.acme, client))
        monkeypatch.setattr(Quota, "reserve", _reserve_nothing)
        client.scripts = [chat_script()]
        assert (await resumable_chat(gateway, keys.acme)).status == 200
        assert service.process is not None
        with suspended(service.process.pid):
            late = await resumable_chat(gateway, keys.acme)
        assert (late.status, late.error["code"]) == (503, "redis_unavailable")
        with redis.Redis.from_url(url) as redis_client:

            def states() -> list[Any]:
                meta_keys = redis_client.scan_iter("cyllm:stream:*:meta")
                return sorted((redis_client.hget(key, "state") for key in meta_keys), key=str)

            await eventually(lambda: states() == [b"completed", b"failed"])
