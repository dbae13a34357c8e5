"""The sweep of event logs of dead gateways."""

from __future__ import annotations

import pytest
import redis

from api.gateway.app import Gateway
from api.gateway.settings import Limits
from api.gateway.streams.event_logs.event_log import EventLogs, LogState
from api.gateway.streams.event_logs.lost_logs import lost_logs_close
from api.gateway.streams.output.closing_events import LogKind
from api.openai.errors.service import RedisUnavailable
from api.openai.errors.streams import TooManyStreams
from inference_worker.protocol import names
from inference_worker.transport.subscriber import Subscriber
from tests.gateway.conftest import LONG_LIMITS, Keys
from tests.gateway.harness.calls import resume, start_resumable_chat
from tests.gateway.harness.conditions import eventually
from tests.gateway.harness.driver import call, connect
from tests.gateway.harness.events import chat_text, numbered_events
from tests.gateway.harness.gateways import detached_count
from tests.gateway.harness.records import records_of, starts_of
from tests.gateway.harness.scripted import ScriptedClient
from tests.gateway.harness.scripts import HANG, Pause, accepted, delta, done, finished

pytestmark = pytest.mark.case("robustness.4")

LIMITS = LONG_LIMITS.model_copy(update={"stream_logs_per_tenant": 3})
DEAD = "gw-dead"


@pytest.fixture
def limits() -> Limits:
    return LIMITS


async def dead_logs(redis_url: str, keys: Keys) -> None:
    """Leave as many running logs as a tenant may have, the way a killed gateway does."""
    logs = EventLogs(redis_url, Subscriber(redis_url), DEAD, LIMITS)
    await logs.start()

    async def is_up() -> bool:
        try:
            return await logs.find("none", keys.acme_id) is None
        except RedisUnavailable:
            return False

    await eventually(is_up)
    for number in range(LIMITS.stream_logs_per_tenant):
        await logs.create(f"dead-{number}", keys.acme_id, LogKind.CHAT)
        await logs.append(f"dead-{number}", keys.acme_id, 0, [delta("a").data.rstrip()])
    with pytest.raises(TooManyStreams):
        await logs.create("one-more", keys.acme_id, LogKind.CHAT)
    await logs.stop()


def sweep(client: redis.Redis) -> int:
    """Sweep twice, as if enough time passed in between to find a missing gateway dead."""
    assert lost_logs_close(client, LIMITS) == 0
    for gateway_id, since in client.hgetall(names.STREAM_GATEWAYS_MISSING).items():
        earlier = float(since) - names.GATEWAY_DEAD_AFTER_S
        client.hset(names.STREAM_GATEWAYS_MISSING, gateway_id, str(earlier))
    return lost_logs_close(client, LIMITS)


async def test_streams_of_a_dead_gateway_end_without_a_reader(
    gateway: Gateway, keys: Keys, client: ScriptedClient, redis_client: redis.Redis, redis_url: str
) -> None:
    presence_key = names.gateway_key(gateway.recorder.gateway_id)
    await eventually(lambda: bool(redis_client.exists(presence_key)))
    client.scripts = [[accepted(), delta("b"), HANG]]
    running = start_resumable_chat(gateway, keys.globex)
    await running.wait_for(b'"b"')
    await dead_logs(redis_url, keys)
    assert sweep(redis_client) == LIMITS.stream_logs_per_tenant
    assert sweep(redis_client) == 0
    logs = gateway.endpoints.streams.logs
    log = await logs.find("dead-0", keys.acme_id)
    assert log is not None
    assert log.state is LogState.LOST
    expiry_s = redis_client.ttl(names.stream_meta_key("dead-0"))
    assert 0 < int(expiry_s) <= LIMITS.stream_log_keep_s
    text, error, end = numbered_events((await resume(gateway, keys.acme, "dead-0")).body)
    assert (chat_text([text]), error.document["error"]["code"], end.data) == ("a", "stream_lost", "[DONE]")
    await logs.create("new", keys.acme_id, LogKind.CHAT)
    running_id = running.reply.headers["x-stream-id"]
    assert _running(redis_client) == {running_id: gateway.recorder.gateway_id, "new": logs.gateway_id}
    await call(gateway, "DELETE", f"/v1/streams/{running_id}", key=keys.globex)
    await running.finish()


async def test_a_waiting_reader_gets_the_error_event_of_the_sweep(
    gateway: Gateway, keys: Keys, redis_client: redis.Redis, redis_url: str
) -> None:
    await dead_logs(redis_url, keys)
    log = await gateway.endpoints.streams.logs.find("dead-1", keys.acme_id)
    assert log is not None
    follower = gateway.endpoints.streams.logs.follow(log, 0, poll_s=30.0)
    sweep(redis_client)
    events = [entry.event for entries in [entries async for entries in follower] for entry in entries]
    assert b"stream_lost" in events[0]
    assert events[-1] == b"data: [DONE]"


async def test_the_index_of_running_logs_forgets_ended_deleted_and_expired_ones(
    gateway: Gateway, keys: Keys, client: ScriptedClient, redis_client: redis.Redis
) -> None:
    client.scripts = [
        [accepted(), delta("a"), Pause(0.1), done(), finished()],
        [accepted(), delta("b"), HANG],
    ]
    ended_log = start_resumable_chat(gateway, keys.acme)
    await ended_log.finish()
    deleted_log = start_resumable_chat(gateway, keys.acme)
    await deleted_log.wait_for(b'"b"')
    assert list(_running(redis_client)) == [deleted_log.reply.headers["x-stream-id"]]
    path = f"/v1/streams/{deleted_log.reply.headers['x-stream-id']}"
    await call(gateway, "DELETE", path, key=keys.acme)
    await deleted_log.finish()
    await eventually(lambda: detached_count(gateway) == 0)
    assert _running(redis_client) == {}
    redis_client.hset(names.RUNNING_STREAMS, "expired", DEAD)
    assert sweep(redis_client) == 0
    assert _running(redis_client) == {}


@pytest.mark.case("robustness.6")
async def test_a_reader_of_a_stream_announces_its_start_before_its_first_byte(
    gateway: Gateway, keys: Keys, client: ScriptedClient, redis_client: redis.Redis
) -> None:
    client.scripts = [[accepted(), delta("a"), HANG]]
    running = start_resumable_chat(gateway, keys.acme)
    await running.wait_for(b'"a"')
    path = f"/v1/streams/{running.reply.headers['x-stream-id']}"
    reader = connect(gateway, "GET", path, key=keys.acme)
    await reader.wait_for(b'"a"')
    start = starts_of(redis_client)[-1]
    assert (start.endpoint, start.model, start.tenant_id) == ("/v1/streams/{id}", "", keys.acme_id)
    assert start.gateway_id == gateway.recorder.gateway_id
    await call(gateway, "DELETE", path, key=keys.acme)
    await reader.finish()
    await running.finish()
    reads = records_of(redis_client, "/v1/streams/{id}")
    assert start.request_id in {read.request_id for read in reads}


def _running(client: redis.Redis) -> dict[str, str]:
    entries = client.hgetall(names.RUNNING_STREAMS)
    return {log_id.decode(): gateway_id.decode() for log_id, gateway_id in entries.items()}  # type: ignore[union-attr]
