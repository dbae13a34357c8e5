"""Limits of event logs, and their readers' view of a dead gateway or Redis."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
import redis

from api.gateway.app import Gateway
from api.gateway.settings import Limits
from api.gateway.streams.event_logs.event_log import EventLogs, LogState
from api.gateway.streams.output.closing_events import LogKind
from api.openai.errors.base import ApiError
from api.openai.errors.service import RedisUnavailable
from api.openai.errors.streams import StreamLost
from inference_worker.protocol import names
from inference_worker.protocol.messages import Outcome
from inference_worker.transport.subscriber import Subscriber
from tests.gateway.conftest import LONG_LIMITS, Keys
from tests.gateway.harness.calls import CHAT, resumable_chat, resume, start_resumable_chat
from tests.gateway.harness.conditions import eventually
from tests.gateway.harness.driver import Connection, call
from tests.gateway.harness.events import chat_text, numbered_events
from tests.gateway.harness.gateways import detached_count, running_gateway
from tests.gateway.harness.records import records_of
from tests.gateway.harness.scripted import ScriptedClient
from tests.gateway.harness.scripts import HANG, Pause, accepted, chat_script, delta, done, finished
from tests.stacks import Service

LIMITS = LONG_LIMITS.model_copy(
    update={"stream_log_bytes": 4096, "stream_logs_per_tenant": 3, "detached_per_tenant": 3}
)
FILLER = "x" * 500


@pytest.fixture
def limits() -> Limits:
    return LIMITS


async def test_a_log_has_a_size_limit_and_late_readers_get_an_error(
    gateway: Gateway, keys: Keys, client: ScriptedClient, redis_client: redis.Redis
) -> None:
    deltas = [delta(f"{number:03}{FILLER}") for number in range(50)]
    client.scripts = [[accepted(), Pause(0.2), *deltas, [done(), finished()]]]
    reply = await resumable_chat(gateway, keys.acme)
    stream_id = reply.headers["x-stream-id"]
    await eventually(lambda: detached_count(gateway) == 0)
    entries: Any = redis_client.xrange(names.stream_key(stream_id))
    assert 4 < len(entries) < 10
    assert sum(len(fields[b"event"]) for _, fields in entries) <= LIMITS.stream_log_bytes
    first = 51 - len(entries)
    late = await resume(gateway, keys.acme, stream_id, first - 2)
    assert (late.status, late.error["code"]) == (410, "events_expired")
    assert f"number {first} " in late.error["message"]
    in_time = numbered_events((await resume(gateway, keys.acme, stream_id, first - 1)).body)
    assert [event.number for event in in_time] == list(range(first, 51))


async def test_new_logs_of_a_tenant_replace_its_oldest(
    gateway: Gateway, keys: Keys, client: ScriptedClient, redis_client: redis.Redis
) -> None:
    client.scripts = [chat_script() for _ in range(6)]
    stream_ids = [(await resumable_chat(gateway, keys.acme)).headers["x-stream-id"] for _ in range(5)]
    globex_id = (await resumable_chat(gateway, keys.globex)).headers["x-stream-id"]
    statuses = [(await resume(gateway, keys.acme, stream_id)).status for stream_id in stream_ids]
    assert statuses == [404, 404, 200, 200, 200]
    assert (await resume(gateway, keys.globex, globex_id)).status == 200
    assert redis_client.zcard(names.stream_index_key(keys.acme_id)) == LIMITS.stream_logs_per_tenant


async def test_the_number_of_detached_requests_per_tenant_is_limited(
    gateway: Gateway, keys: Keys, client: ScriptedClient, redis_url: str
) -> None:
    client.scripts = [[accepted(), delta("a"), HANG] for _ in range(4)]
    connections = [start_resumable_chat(gateway, keys.acme) for _ in range(3)]
    for connection in connections:
        await connection.wait_for(b'"a"')
    excess = await resumable_chat(gateway, keys.acme)
    assert (excess.status, excess.error["code"]) == (429, "too_many_streams")
    logs = EventLogs(redis_url, Subscriber(redis_url), "gw-other", LIMITS)
    await logs.start()
    with pytest.raises(ApiError, match="too_many_streams"):
        await _create_log(logs, "chatcmpl-more", keys.acme_id)
    await logs.stop()
    globex_connection = start_resumable_chat(gateway, keys.globex)
    await globex_connection.wait_for(b'"a"')
    for connection in [*connections, globex_connection]:
        key = keys.globex if connection is globex_connection else keys.acme
        await call(gateway, "DELETE", f"/v1/streams/{connection.reply.headers['x-stream-id']}", key=key)
        await connection.finish()


async def _create_log(logs: EventLogs, log_id: str, tenant_id: str) -> None:
    """Create a log once the connection to Redis is up."""

    async def is_created() -> bool:
        try:
            await logs.create(log_id, tenant_id, LogKind.CHAT)
        except RedisUnavailable:
            return False
        return True

    await eventually(is_created)


async def test_all_readers_of_a_dead_gateways_log_get_the_same_error_event(
    gateway: Gateway, keys: Keys, redis_client: redis.Redis, redis_url: str
) -> None:
    dead_logs = EventLogs(redis_url, Subscriber(redis_url), "gw-dead", LIMITS)
    await dead_logs.start()
    await _create_log(dead_logs, "chatcmpl-dead", keys.acme_id)
    await dead_logs.append("chatcmpl-dead", keys.acme_id, 0, [delta("a").data.rstrip()])
    await dead_logs.stop()
    first, second = await asyncio.gather(
        resume(gateway, keys.acme, "chatcmpl-dead"), resume(gateway, keys.acme, "chatcmpl-dead")
    )
    text, error, end = numbered_events(first.body)
    assert (chat_text([text]), error.document["error"]["code"]) == ("a", "stream_lost")
    assert [text.number, error.number, end.number, end.data] == [0, 1, 2, "[DONE]"]
    assert numbered_events(second.body) == numbered_events(first.body)
    later = await resume(gateway, keys.acme, "chatcmpl-dead", 1)
    assert numbered_events(later.body) == [end]


async def test_a_missing_presence_key_does_not_end_a_running_stream(
    gateway: Gateway, keys: Keys, client: ScriptedClient, redis_client: redis.Redis
) -> None:
    client.scripts = [[accepted(), delta("a"), Pause(2.5), delta("b"), done(), finished()]]
    connection = start_resumable_chat(gateway, keys.acme)
    await connection.wait_for(b'"a"')
    for _ in range(10):
        redis_client.delete(names.gateway_key(gateway.recorder.gateway_id))
        await asyncio.sleep(0.1)
    await connection.finish()
    assert chat_text(numbered_events(connection.reply.body)) == "ab"


async def test_a_gateway_stops_a_request_whose_log_another_gateway_has_closed(
    gateway: Gateway, keys: Keys, client: ScriptedClient, redis_client: redis.Redis
) -> None:
    release = asyncio.Event()
    client.scripts = [[accepted(), delta("a"), release, delta("b"), HANG]]
    connection = start_resumable_chat(gateway, keys.acme)
    await connection.wait_for(b'"a"')
    logs = gateway.endpoints.streams.logs
    log = await logs.find(connection.reply.headers["x-stream-id"], keys.acme_id)
    assert log is not None
    await logs.close_with(log, StreamLost(), LogState.LOST)
    release.set()
    await connection.finish()
    assert [event.data for event in numbered_events(connection.reply.body)][-1] == "[DONE]"
    await eventually(lambda: detached_count(gateway) == 0)
    assert client.streams[0].close_count == 1
    assert '"b"' not in (await resume(gateway, keys.acme, log.log_id)).body.decode()


async def test_a_stopping_gateway_ends_its_streams_with_an_error_event(
    gateway: Gateway, keys: Keys, redis_client: redis.Redis, redis_url: str
) -> None:
    client = ScriptedClient()
    client.scripts = [
        [accepted(), delta("a"), HANG],
        [accepted(), delta("b"), Pause(0.1), done(), finished()],
    ]
    limits = LIMITS.model_copy(update={"detached_grace_s": 1.0})
    async with running_gateway(redis_url, client, limits) as stopping_gateway:
        hanging = start_resumable_chat(stopping_gateway, keys.acme)
        await hanging.wait_for(b'"a"')
        running = start_resumable_chat(stopping_gateway, keys.acme)
        await running.wait_for(b'"b"')
        replies = [await hanging.close(), await running.close()]
    streams = [await resume(gateway, keys.acme, reply.headers["x-stream-id"]) for reply in replies]
    failed_events, completed_events = [numbered_events(stream.body) for stream in streams]
    assert failed_events[1].document["error"]["code"] == "gateway_stopping"
    assert [event.data == "[DONE]" for event in failed_events] == [False, False, True]
    assert (chat_text(completed_events), completed_events[-1].data) == ("b", "[DONE]")
    outcomes = sorted(record.outcome for record in records_of(redis_client, CHAT))
    assert outcomes == [Outcome.COMPLETED, Outcome.FAILED]


async def _first_stream(
    gateway: Gateway, key: str, client: ScriptedClient, release: asyncio.Event
) -> Connection:
    """Start a stream once the gateway's connections to Redis are up. It goes on after the event."""
    attempts: list[Connection] = []

    async def succeeds() -> bool:
        client.scripts = [[accepted(), delta("a"), release, delta("b"), HANG]]
        attempts.append(start_resumable_chat(gateway, key))
        await attempts[-1].wait_for(b"}")
        return attempts[-1].reply.status == 200

    await eventually(succeeds)
    return attempts[-1]


async def test_without_redis_a_stream_ends_with_an_error_and_can_be_resumed_later(
    keys: Keys, client: ScriptedClient, own_valkey: tuple[Service, str]
) -> None:
    service, url = own_valkey
    limits = LIMITS.model_copy(update={"stream_comment_s": 5.0})
    async with running_gateway(url, client, limits) as gateway:
        release = asyncio.Event()
        connection = await _first_stream(gateway, keys.acme, client, release)
        await connection.wait_for(b'"a"')
        stream_id = connection.reply.headers["x-stream-id"]
        service.stop()
        release.set()
        reply = await connection.finish()
        *_, error, end, remainder = reply.body.decode().split("\n\n")
        assert json.loads(error.removeprefix("data: "))["error"]["code"] == "redis_unavailable"
        assert (end, remainder) == ("data: [DONE]", "")
        await eventually(lambda: detached_count(gateway) == 0)
        assert client.streams[-1].close_count == 1, "the engine still generates"
        unavailable = await resume(gateway, keys.acme, stream_id)
        assert (unavailable.status, unavailable.error["code"]) == (503, "redis_unavailable")
        service.start()

        async def has_ended() -> bool:
            reply = await resume(gateway, keys.acme, stream_id)
            return reply.status == 200 and b"[DONE]" in reply.body

        await eventually(has_ended)
        events = numbered_events((await resume(gateway, keys.acme, stream_id)).body)
    assert chat_text(events[:1]) == "a"
    assert events[-2].document["error"]["code"] == "redis_unavailable"
    assert [event.number for event in events] == list(range(len(events)))
