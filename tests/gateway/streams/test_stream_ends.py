"""Ends of resumable streams: disconnects, cancellation, deletion, errors, expiry."""

from __future__ import annotations

import pytest
import redis

from api.gateway.app import Gateway
from inference_worker.protocol import names
from inference_worker.protocol.faults import InvalidParameter
from inference_worker.protocol.messages import FailureKind, Meter, Outcome
from tests.gateway.conftest import Keys
from tests.gateway.harness.calls import CHAT, resumable_chat, resume, start_chat, start_resumable_chat
from tests.gateway.harness.driver import call
from tests.gateway.harness.events import numbered_events
from tests.gateway.harness.records import RecordReader
from tests.gateway.harness.scripted import ScriptedClient
from tests.gateway.harness.scripts import HANG, accepted, delta, failed, lost


@pytest.mark.parametrize("options", [{}, {"stream_options": {"on_disconnect": "cancel"}}])
async def test_a_disconnect_cancels_a_stream_by_default(
    gateway: Gateway,
    keys: Keys,
    client: ScriptedClient,
    redis_client: redis.Redis,
    settled_record: RecordReader,
    options: dict[str, object],
) -> None:
    client.scripts = [[accepted(), delta("a"), HANG]]
    connection = start_chat(gateway, keys.acme, stream=True, **options)
    await connection.wait_for(b'"a"')
    await connection.close()
    assert client.streams[0].close_count == 1
    assert "x-stream-id" not in connection.reply.headers
    record = await settled_record(CHAT)
    assert (record.outcome, record.relayed) == (Outcome.CANCELLED, Meter(completion_tokens=1))
    assert redis_client.keys("cyllm:stream*") == []


@pytest.mark.criterion("5.2")
@pytest.mark.parametrize("elsewhere", [False, True])
async def test_a_stream_can_be_cancelled_from_any_gateway_and_is_recorded_as_cancelled(
    gateway: Gateway,
    keys: Keys,
    client: ScriptedClient,
    settled_record: RecordReader,
    second_gateway: Gateway,
    elsewhere: bool,
) -> None:
    client.scripts = [[accepted(), delta("a"), HANG]]
    connection = start_resumable_chat(gateway, keys.acme)
    await connection.wait_for(b'"a"')
    stream_id = connection.reply.headers["x-stream-id"]
    other = second_gateway if elsewhere else gateway
    reply = await call(other, "POST", f"/v1/streams/{stream_id}/cancel", key=keys.acme)
    assert reply.document == {"id": stream_id, "object": "stream", "status": "cancelled"}
    await connection.finish()
    again = await call(other, "POST", f"/v1/streams/{stream_id}/cancel", key=keys.acme)
    assert again.document == reply.document, "a second cancellation changed the stream"
    assert client.streams[0].close_count == 1
    text, error, end = numbered_events(connection.reply.body)
    assert (error.document["error"]["code"], end.data) == ("request_cancelled", "[DONE]")
    assert [text.number, error.number, end.number] == [0, 1, 2]
    record = await settled_record(CHAT)
    assert (record.outcome, record.error_code, record.status) == (Outcome.CANCELLED, "request_cancelled", 200)
    assert record.relayed == Meter(completion_tokens=1)


async def test_deleting_a_stream_stops_it_and_removes_it(
    gateway: Gateway,
    keys: Keys,
    client: ScriptedClient,
    redis_client: redis.Redis,
    settled_record: RecordReader,
) -> None:
    client.scripts = [[accepted(), delta("a"), HANG]]
    connection = start_resumable_chat(gateway, keys.acme)
    await connection.wait_for(b'"a"')
    stream_id = connection.reply.headers["x-stream-id"]
    reply = await call(gateway, "DELETE", f"/v1/streams/{stream_id}", key=keys.acme)
    assert reply.document == {"id": stream_id, "object": "stream.deleted", "deleted": True}
    await connection.finish()
    assert connection.reply.is_complete
    assert (await resume(gateway, keys.acme, stream_id)).status == 404
    record = await settled_record(CHAT)
    assert (record.outcome, client.streams[0].close_count) == (Outcome.CANCELLED, 1)
    assert redis_client.keys("cyllm:stream:*") == []


async def test_an_error_before_the_first_event_keeps_its_status_and_leaves_no_stream(
    gateway: Gateway,
    keys: Keys,
    client: ScriptedClient,
    redis_client: redis.Redis,
    settled_record: RecordReader,
) -> None:
    fault = InvalidParameter(param="top_k", reason="no")
    client.scripts = [[failed(FailureKind.REQUEST, 400, fault=fault)]]
    reply = await resumable_chat(gateway, keys.acme)
    assert (reply.status, reply.error["code"], reply.error["param"]) == (400, "invalid_value", "top_k")
    record = await settled_record(CHAT)
    assert (record.outcome, record.status) == (Outcome.REFUSED, 400)
    assert redis_client.keys("cyllm:stream:*") == []


async def test_an_error_after_the_first_event_is_an_event_for_every_reader(
    gateway: Gateway, keys: Keys, client: ScriptedClient, settled_record: RecordReader
) -> None:
    client.scripts = [[accepted(), delta("a"), lost()]]
    reply = await resumable_chat(gateway, keys.acme)
    _, error, end = numbered_events(reply.body)
    assert (error.document["error"]["code"], end.data, end.number) == ("worker_lost", "[DONE]", 2)
    again = await resume(gateway, keys.acme, reply.headers["x-stream-id"], 0)
    assert numbered_events(again.body) == [error, end]
    record = await settled_record(CHAT)
    assert (record.outcome, record.error_code) == (Outcome.LOST, "worker_lost")


async def test_a_log_stays_readable_for_a_while_after_its_end(
    gateway: Gateway, keys: Keys, client: ScriptedClient, redis_client: redis.Redis
) -> None:
    client.scripts = [[accepted(), delta("a"), HANG]]
    connection = start_resumable_chat(gateway, keys.acme)
    await connection.wait_for(b'"a"')
    stream_id = connection.reply.headers["x-stream-id"]
    limits = gateway.limits
    for key in (names.stream_key(stream_id), names.stream_meta_key(stream_id)):
        assert redis_client.ttl(key) > limits.stream_log_keep_s, "the log may expire before its end"
    await call(gateway, "POST", f"/v1/streams/{stream_id}/cancel", key=keys.acme)
    await connection.finish()
    for key in (names.stream_key(stream_id), names.stream_meta_key(stream_id)):
        assert 0 < redis_client.ttl(key) <= limits.stream_log_keep_s
