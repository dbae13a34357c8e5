"""Responses that outlive their connection: in the background, resumed at any event, cancelled, deleted."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import redis

from api.gateway.app import Gateway
from api.gateway.settings import Limits
from inference_worker.protocol.faults import OtherFault
from inference_worker.protocol.messages import FailureKind, Meter, Outcome
from tests.gateway.conftest import LONG_LIMITS, Keys
from tests.gateway.harness.calls import (
    RESPONSES,
    RESUMABLE,
    create_response,
    final_response,
    retrieve,
    start_response,
)
from tests.gateway.harness.driver import call
from tests.gateway.harness.events import response_events, response_text
from tests.gateway.harness.records import RecordReader, starts_of
from tests.gateway.harness.scripted import ScriptedClient
from tests.gateway.harness.scripts import HANG, METER, TEXT, accepted, delta, failed, lost, response_script
from tests.gateway.harness.threads import in_thread


@pytest.fixture
def limits() -> Limits:
    return LONG_LIMITS.model_copy(update={"stream_log_bytes": 50_000})


@pytest.mark.honours("responses", "background")
async def test_a_background_response_is_returned_at_once_and_can_be_retrieved_later(
    gateway: Gateway, keys: Keys, client: ScriptedClient, settled_record: RecordReader
) -> None:
    release = asyncio.Event()
    client.scripts = [response_script(until=release)]
    reply = await create_response(gateway, keys.acme, background=True)
    queued_response = reply.document
    assert (reply.status, queued_response["status"], queued_response["background"]) == (200, "queued", True)
    assert queued_response["output"] == []
    release.set()
    response = await final_response(gateway, keys.acme, queued_response["id"])
    assert (response["status"], response_text(response)) == ("completed", TEXT)
    assert response["usage"]["output_tokens"] == 4
    record = await settled_record(RESPONSES)
    assert (record.outcome, record.status, record.relayed) == (Outcome.COMPLETED, 200, METER)


async def test_the_events_of_a_background_response_can_be_read_from_any_number(
    gateway: Gateway, keys: Keys, client: ScriptedClient, settled_record: RecordReader
) -> None:
    client.scripts = [response_script()]
    complete = await create_response(gateway, keys.acme, background=True, stream=True)
    events = response_events(complete.body)
    assert [event["type"] for event in events[:3]] == [
        "response.created",
        "response.queued",
        "response.in_progress",
    ]
    response_id = events[0]["response"]["id"]
    assert complete.headers["x-stream-id"] == response_id
    for cut in range(len(events)):
        remainder = await retrieve(gateway, keys.acme, response_id, f"?stream=true&starting_after={cut}")
        assert remainder.status == 200
        assert events[: cut + 1] + response_events(remainder.body) == events, f"cut at {cut}"
    assert response_events((await retrieve(gateway, keys.acme, response_id, "?stream=true")).body) == events
    assert (await retrieve(gateway, keys.acme, response_id)).document == events[-1]["response"]
    await settled_record(RESPONSES)


@pytest.mark.honours("responses", "background", "stream_options")
@pytest.mark.parametrize("parameters", [{"background": True, "stream": True}, RESUMABLE])
async def test_a_client_disconnected_at_any_event_can_resume_without_loss(
    gateway: Gateway, keys: Keys, client: ScriptedClient, parameters: dict[str, Any]
) -> None:
    client.scripts = [response_script()]
    count = len(response_events((await create_response(gateway, keys.acme, **parameters)).body))
    for cut in range(count):
        client.scripts = [response_script(gap_s=0.005)]
        connection = start_response(gateway, keys.acme, **parameters)
        await connection.wait_for(b"id: %d\n" % cut)
        await connection.close()
        events = response_events(connection.reply.body)
        events = [event for event in events if event["sequence_number"] <= cut]
        response_id = connection.reply.headers["x-stream-id"]
        remainder = await retrieve(gateway, keys.acme, response_id, f"?stream=true&starting_after={cut}")
        events += response_events(remainder.body)
        assert [event["sequence_number"] for event in events] == list(range(count)), f"cut at {cut}"
        assert response_text(events[-1]["response"]) == TEXT
        assert (await retrieve(gateway, keys.acme, response_id)).document == events[-1]["response"]


@pytest.mark.parametrize("elsewhere", [False, True])
async def test_a_response_can_be_cancelled_from_any_gateway_and_more_than_once(
    gateway: Gateway,
    keys: Keys,
    client: ScriptedClient,
    settled_record: RecordReader,
    second_gateway: Gateway,
    elsewhere: bool,
) -> None:
    client.scripts = [[accepted(), delta("a"), HANG]]
    connection = start_response(gateway, keys.acme, background=True, stream=True)
    await connection.wait_for(b'"delta":"a"')
    response_id = connection.reply.headers["x-stream-id"]
    path = f"{RESPONSES}/{response_id}/cancel"
    other = second_gateway if elsewhere else gateway
    reply = await call(other, "POST", path, key=keys.acme)
    assert (reply.status, reply.document["status"], response_text(reply.document)) == (200, "cancelled", "a")
    await connection.finish()
    assert (await call(other, "POST", path, key=keys.acme)).document == reply.document
    assert client.streams[0].close_count == 1
    last = response_events(connection.reply.body)[-1]
    assert (last["type"], last["response"]["status"]) == ("response.incomplete", "cancelled")
    record = await settled_record(RESPONSES)
    assert (record.outcome, record.error_code) == (Outcome.CANCELLED, "request_cancelled")
    assert record.relayed == Meter(completion_tokens=1)
    reply = await create_response(gateway, keys.acme, previous_response_id=response_id)
    assert (reply.status, reply.error["param"]) == (400, "previous_response_id")


async def test_a_response_deleted_while_it_runs_is_stopped_and_stays_deleted(
    gateway: Gateway,
    keys: Keys,
    client: ScriptedClient,
    redis_client: redis.Redis,
    settled_record: RecordReader,
) -> None:
    from api.stored_responses.models import StoredResponse

    client.scripts = [[accepted(), delta("a"), HANG]]
    connection = start_response(gateway, keys.acme, background=True, stream=True)
    await connection.wait_for(b'"delta":"a"')
    path = f"{RESPONSES}/{connection.reply.headers['x-stream-id']}"
    deletion = await call(gateway, "DELETE", path, key=keys.acme)
    assert deletion.document["deleted"] is True
    await connection.finish()
    record = await settled_record(RESPONSES)
    assert (record.outcome, client.streams[0].close_count) == (Outcome.CANCELLED, 1)
    assert await in_thread(StoredResponse.objects.count) == 0
    assert redis_client.keys("cyllm:stream:*") == []


@pytest.mark.parametrize(
    ("event", "code", "outcome"),
    [
        (
            failed(FailureKind.REQUEST, 400, fault=OtherFault(reason="no")),
            "invalid_prompt",
            "refused",
        ),
        (lost(), "server_error", "lost"),
    ],
)
async def test_a_failure_in_the_background_is_a_failed_response(
    gateway: Gateway,
    keys: Keys,
    client: ScriptedClient,
    settled_record: RecordReader,
    event: Any,
    code: str,
    outcome: str,
) -> None:
    client.scripts = [[accepted(), event]]
    queued_response = (await create_response(gateway, keys.acme, background=True)).document
    response = await final_response(gateway, keys.acme, queued_response["id"])
    assert (response["status"], response["error"]["code"]) == ("failed", code)
    events = response_events((await retrieve(gateway, keys.acme, queued_response["id"], "?stream=true")).body)
    assert (events[-1]["type"], events[-1]["response"]) == ("response.failed", response)
    assert (await settled_record(RESPONSES)).outcome == outcome


async def test_a_background_request_is_recorded_before_the_client_receives_its_id(
    gateway: Gateway, keys: Keys, client: ScriptedClient, redis_client: redis.Redis
) -> None:
    release = asyncio.Event()
    client.scripts = [response_script(until=release)]
    connection = start_response(gateway, keys.acme, background=True)
    while not connection.reply.status:
        await asyncio.sleep(0)
    assert len(starts_of(redis_client)) == 1
    release.set()
    reply = await connection.finish()
    await final_response(gateway, keys.acme, reply.document["id"])
    (start,) = starts_of(redis_client)
    assert start.endpoint == RESPONSES
