"""Storage of responses: outages, oversized requests, stopping gateways and late cancellations."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest
import redis

from api.gateway.app import Gateway
from api.gateway.http.exchange import Exchange
from api.gateway.settings import Limits
from api.openai.errors.service import RedisUnavailable
from inference_worker.protocol import names
from inference_worker.protocol.messages import Outcome
from tests.gateway.conftest import LONG_LIMITS, Keys
from tests.gateway.harness.calls import (
    RESPONSES,
    RESUMABLE,
    create_response,
    final_response,
    retrieve,
    start_response,
)
from tests.gateway.harness.conditions import eventually
from tests.gateway.harness.driver import call, connect
from tests.gateway.harness.events import response_events, response_text
from tests.gateway.harness.gateways import running_gateway, until_settled
from tests.gateway.harness.outages import DatabaseOutage
from tests.gateway.harness.records import RecordReader
from tests.gateway.harness.scripted import ScriptedClient
from tests.gateway.harness.scripts import HANG, TEXT, accepted, delta, response_script
from tests.gateway.harness.threads import in_thread


@pytest.fixture
def limits() -> Limits:
    return LONG_LIMITS.model_copy(update={"stream_log_bytes": 50_000})


@pytest.mark.parametrize("stream", [False, True])
async def test_a_background_request_that_cannot_be_recorded_is_rejected_and_not_stored(
    gateway: Gateway,
    keys: Keys,
    client: ScriptedClient,
    redis_client: redis.Redis,
    monkeypatch: pytest.MonkeyPatch,
    stream: bool,
) -> None:
    from api.stored_responses.models import StoredResponse

    async def fail(exchange: Exchange) -> None:
        raise RedisUnavailable()

    monkeypatch.setattr(gateway.endpoints.responses.start_recorder, "record_start", fail)
    reply = await create_response(gateway, keys.acme, background=True, stream=stream)
    assert (reply.status, reply.error["code"]) == (503, "redis_unavailable")
    await until_settled(gateway)
    assert client.calls == []
    assert await in_thread(StoredResponse.objects.count) == 0
    assert redis_client.keys(names.stream_key("*")) == []


async def test_a_background_response_that_cannot_be_stored_is_not_generated(
    gateway: Gateway, keys: Keys, client: ScriptedClient, database_outage: DatabaseOutage
) -> None:
    client.scripts = [response_script()]
    # The gateway caches the key.
    assert (await call(gateway, "GET", "/v1/models", key=keys.globex)).status == 200
    connection = start_response(gateway, keys.globex, background=True)
    with database_outage():
        reply = await connection.finish()
    assert (reply.status, reply.error["code"]) == (503, "database_unavailable")
    assert client.calls == []


async def test_a_finished_response_that_cannot_be_stored_ends_with_an_error(
    gateway: Gateway, keys: Keys, client: ScriptedClient, database_outage: DatabaseOutage
) -> None:
    release = asyncio.Event()
    client.scripts = [response_script(until=release)]
    connection = start_response(gateway, keys.acme, stream=True)
    await connection.wait_for(b'"delta":"one "')
    with database_outage():
        release.set()
        reply = await connection.finish()
    events = response_events(reply.body)
    assert (events[-1]["type"], events[-1]["code"]) == ("error", "database_unavailable")
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert "response.completed" not in {event["type"] for event in events}


async def test_the_end_of_a_background_response_is_stored_once_the_database_recovers(
    gateway: Gateway, keys: Keys, client: ScriptedClient, database_outage: DatabaseOutage
) -> None:
    release = asyncio.Event()
    client.scripts = [response_script(until=release)]
    queued_response = (await create_response(gateway, keys.acme, background=True)).document
    reader = connect(gateway, "GET", f"{RESPONSES}/{queued_response['id']}?stream=true", key=keys.acme)
    await reader.wait_for(b'"delta":"one "')
    with database_outage():
        release.set()
        reply = await reader.finish()
    assert response_events(reply.body)[-1]["code"] == "database_unavailable"
    response = await final_response(gateway, keys.acme, queued_response["id"])
    assert (response["status"], response["error"]["code"]) == ("failed", "server_error")
    assert (response["completed_at"], response_text(response)) == (None, TEXT)
    assert gateway.endpoints.responses.store.pending_updates == {}


async def test_a_stopping_gateway_stores_the_end_of_its_responses(
    keys: Keys, gateway: Gateway, limits: Limits, redis_url: str
) -> None:
    client = ScriptedClient()
    client.scripts = [[accepted(), delta("one "), HANG], response_script(gap_s=0.05)]
    limits = limits.model_copy(update={"detached_grace_s": 1.5})
    async with running_gateway(redis_url, client, limits) as stopping_gateway:
        hanging = await create_response(stopping_gateway, keys.acme, background=True)
        await eventually(lambda: bool(client.streams))
        running = await create_response(stopping_gateway, keys.acme, background=True)
    replies = [await retrieve(gateway, keys.acme, reply.document["id"]) for reply in (hanging, running)]
    assert [(reply.document["status"], response_text(reply.document)) for reply in replies] == [
        ("failed", "one "),
        ("completed", TEXT),
    ]


async def test_a_cancellation_while_the_response_is_stored_is_too_late(
    gateway: Gateway,
    keys: Keys,
    client: ScriptedClient,
    settled_record: RecordReader,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from api.stored_responses import services

    write_start, create = threading.Event(), services.response_create

    def create_slowly(new: services.NewResponse) -> None:
        write_start.set()
        time.sleep(0.3)
        create(new)

    monkeypatch.setattr(services, "response_create", create_slowly)
    client.scripts = [response_script()]
    connection = start_response(gateway, keys.acme, **RESUMABLE)
    await asyncio.to_thread(write_start.wait, 5)
    stream_id = connection.reply.headers["x-stream-id"]
    reply = await call(gateway, "POST", f"/v1/streams/{stream_id}/cancel", key=keys.acme)
    assert reply.document["status"] == "completed"
    await connection.finish()
    last = response_events(connection.reply.body)[-1]
    assert (last["type"], response_text(last["response"])) == ("response.completed", TEXT)
    assert (await retrieve(gateway, keys.acme, stream_id)).document == last["response"]
    record = await settled_record(RESPONSES)
    assert (record.outcome, record.error_code) == (Outcome.COMPLETED, None)


@pytest.mark.parametrize("parameters", [{"background": True}, RESUMABLE])
async def test_a_request_larger_than_its_log_is_rejected_and_stored_nowhere(
    gateway: Gateway,
    keys: Keys,
    client: ScriptedClient,
    redis_client: redis.Redis,
    parameters: dict[str, Any],
) -> None:
    from api.stored_responses.models import StoredResponse

    limit = gateway.limits.stream_log_bytes
    reply = await create_response(gateway, keys.acme, instructions="x" * limit, **parameters)
    assert (reply.status, reply.error["code"]) == (400, "invalid_request")
    assert str(limit) in reply.error["message"]
    assert client.calls == []
    assert redis_client.keys("cyllm:stream:*") == []
    assert await in_thread(StoredResponse.objects.count) == 0
