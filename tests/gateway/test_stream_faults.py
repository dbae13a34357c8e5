"""Bounds of logs, and what their readers see when a gateway or Redis goes away."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack
from typing import Any

import pytest
import redis

from api.gateway.app import Gateway
from api.gateway.stages.limits import Limits
from api.gateway.streams.event_log import EventLogs, LogKind, LogState
from api.openai.errors.base import ApiError
from api.openai.errors.resources import StreamLost
from api.openai.errors.service import CoordinationUnavailable
from inference_worker.protocol import names
from inference_worker.protocol.messages import Outcome, RequestEnded
from inference_worker.transport.subscriber import Subscriber
from tests.gateway.conftest import SECRET, Keys, facts_of
from tests.gateway.driver import Visit, call
from tests.gateway.resumable import begin, numbered, resume, script, text_of, whole
from tests.gateway.scripted import HANG, Pause, ScriptedClient, accepted, delta, done, finished
from tests.gateway.test_outages import own_valkey as own_valkey  # a fixture
from tests.gateway.test_outages import seconds_until
from tests.stacks import Service

LIMITS = Limits(
    gateway_max_requests=8,
    stream_comment_s=0.2,
    total_timeout_s=60.0,
    stream_log_bytes=4096,
    stream_logs_per_tenant=3,
    detached_per_tenant=3,
    detached_grace_s=0.2,
)
PIECE = "x" * 500


@pytest.fixture
def limits() -> Limits:
    return LIMITS


async def quiet(gateway: Gateway) -> None:
    """Wait until nothing runs on without its client."""
    async with asyncio.timeout(5):
        while gateway.endpoints.generation.detached.running_count:
            await asyncio.sleep(0.01)


async def test_a_log_keeps_no_more_than_its_bytes_and_says_so_to_who_comes_too_late(
    gateway: Gateway, keys: Keys, client: ScriptedClient, redis_client: redis.Redis
) -> None:
    pieces = [delta(f"{number:03}{PIECE}") for number in range(50)]
    client.scripts = [[accepted(), Pause(0.2), *pieces, [done(), finished()]]]
    reply = await whole(gateway, keys.acme)
    stream_id = reply.headers["x-stream-id"]
    await quiet(gateway)
    kept: Any = redis_client.xrange(names.stream_key(stream_id))
    assert 4 < len(kept) < 10
    assert sum(len(fields[b"event"]) for _, fields in kept) <= LIMITS.stream_log_bytes
    first = 51 - len(kept)
    late = await resume(gateway, keys.acme, stream_id, first - 2)
    assert (late.status, late.error["code"]) == (410, "events_expired")
    assert f"number {first} " in late.error["message"]
    in_time = numbered((await resume(gateway, keys.acme, stream_id, first - 1)).body)
    assert [event.number for event in in_time] == list(range(first, 51))


async def test_the_logs_of_a_tenant_are_counted_and_old_ones_make_room(
    gateway: Gateway, keys: Keys, client: ScriptedClient, redis_client: redis.Redis
) -> None:
    client.scripts = [script() for _ in range(6)]
    made = [(await whole(gateway, keys.acme)).headers["x-stream-id"] for _ in range(5)]
    theirs = (await whole(gateway, keys.globex)).headers["x-stream-id"]
    found = [(await resume(gateway, keys.acme, stream_id)).status for stream_id in made]
    assert found == [404, 404, 200, 200, 200]
    assert (await resume(gateway, keys.globex, theirs)).status == 200
    assert redis_client.zcard(names.stream_index_key(keys.acme_id)) == LIMITS.stream_logs_per_tenant


async def test_the_requests_of_a_tenant_that_run_on_are_counted(
    gateway: Gateway, keys: Keys, client: ScriptedClient, redis_url: str
) -> None:
    client.scripts = [[accepted(), delta("a"), HANG] for _ in range(4)]
    begun = [begin(gateway, keys.acme) for _ in range(3)]
    for one in begun:
        await one.until(b'"a"')
    refused = await whole(gateway, keys.acme)
    assert (refused.status, refused.error["code"]) == (429, "too_many_streams")
    logs = EventLogs(redis_url, Subscriber(redis_url), "gw-other", LIMITS)
    await logs.start()
    with pytest.raises(ApiError, match="too_many_streams"):
        async with asyncio.timeout(5):
            await _created(logs, "chatcmpl-more", keys.acme_id)
    await logs.stop()
    other = begin(gateway, keys.globex)
    await other.until(b'"a"')
    for one in [*begun, other]:
        key = keys.globex if one is other else keys.acme
        await call(gateway, "DELETE", f"/v1/streams/{one.reply.headers['x-stream-id']}", key=key)
        await one.task


async def _created(logs: EventLogs, log_id: str, tenant_id: str) -> None:
    """Make a log as soon as the connection is there."""
    while True:
        try:
            await logs.create(log_id, tenant_id, LogKind.CHAT)
            return
        except ApiError as error:
            if not isinstance(error, CoordinationUnavailable):
                raise
            await asyncio.sleep(0.01)


async def test_readers_of_a_log_whose_gateway_died_get_an_error_event_and_all_the_same(
    gateway: Gateway, keys: Keys, redis_client: redis.Redis, redis_url: str
) -> None:
    dead = EventLogs(redis_url, Subscriber(redis_url), "gw-dead", LIMITS)
    await dead.start()
    await _created(dead, "chatcmpl-dead", keys.acme_id)
    await dead.append("chatcmpl-dead", keys.acme_id, 0, [delta("a").data.rstrip()])
    await dead.stop()
    first, second = await asyncio.gather(
        resume(gateway, keys.acme, "chatcmpl-dead"), resume(gateway, keys.acme, "chatcmpl-dead")
    )
    text, error, end = numbered(first.body)
    assert (text_of([text]), json.loads(error.data)["error"]["code"]) == ("a", "stream_lost")
    assert [text.number, error.number, end.number, end.data] == [0, 1, 2, "[DONE]"]
    assert numbered(second.body) == numbered(first.body)
    later = await resume(gateway, keys.acme, "chatcmpl-dead", 1)
    assert numbered(later.body) == [end]


async def test_a_missed_sign_of_life_ends_nothing(
    gateway: Gateway, keys: Keys, client: ScriptedClient, redis_client: redis.Redis
) -> None:
    client.scripts = [[accepted(), delta("a"), Pause(2.5), delta("b"), done(), finished()]]
    begun = begin(gateway, keys.acme)
    await begun.until(b'"a"')
    for _ in range(10):
        redis_client.delete(names.gateway_key(gateway.recorder.gateway_id))
        await asyncio.sleep(0.1)
    await begun.task
    assert text_of(numbered(begun.reply.body)) == "ab"


async def test_a_gateway_that_others_took_for_dead_ends_its_request(
    gateway: Gateway, keys: Keys, client: ScriptedClient, redis_client: redis.Redis
) -> None:
    client.scripts = [[accepted(), delta("a"), Pause(0.3), delta("b"), HANG]]
    begun = begin(gateway, keys.acme)
    await begun.until(b'"a"')
    logs = gateway.endpoints.generation.log_readers.logs
    log = await logs.find(begun.reply.headers["x-stream-id"], keys.acme_id)
    assert log is not None
    await logs.close_with(log, StreamLost(), LogState.LOST)
    await begun.task
    assert [event.data for event in numbered(begun.reply.body)][-1] == "[DONE]"
    await quiet(gateway)
    assert client.streams[0].closed == 1
    assert '"b"' not in (await resume(gateway, keys.acme, log.log_id)).body.decode()


async def test_a_gateway_that_is_stopped_ends_its_streams_with_an_error_event(
    keys: Keys, client: ScriptedClient, redis_client: redis.Redis, redis_url: str, gateway: Gateway
) -> None:
    from api.gateway.process import gateway_process

    running = ScriptedClient()
    running.scripts = [
        [accepted(), delta("a"), HANG],
        [accepted(), delta("b"), Pause(0.1), done(), finished()],
    ]
    async with AsyncExitStack() as life:
        stopped = await life.enter_async_context(
            gateway_process(redis_url=redis_url, secret=SECRET, limits=LIMITS, client=running)
        )
        begun = [begin(stopped, keys.acme)]
        await begun[0].until(b'"a"')
        begun.append(begin(stopped, keys.acme))
        await begun[1].until(b'"b"')
        ids = [one.reply.headers["x-stream-id"] for one in begun]
        for one in begun:
            one.leave()
            await one.task
    ended, finished_in_time = [numbered((await resume(gateway, keys.acme, id_)).body) for id_ in ids]
    assert json.loads(ended[1].data)["error"]["code"] == "gateway_stopping"
    assert [event.data == "[DONE]" for event in ended] == [False, False, True]
    assert (text_of(finished_in_time), finished_in_time[-1].data) == ("b", "[DONE]")
    facts = [fact for fact in facts_of(redis_client) if isinstance(fact, RequestEnded)]
    outcomes = sorted(fact.outcome for fact in facts if fact.endpoint == "/v1/chat/completions")
    assert outcomes == [Outcome.COMPLETED, Outcome.FAILED]


async def test_without_redis_a_stream_ends_with_an_error_and_resumes_when_it_is_back(
    keys: Keys, client: ScriptedClient, own_valkey: tuple[Service, str]
) -> None:
    from api.gateway.process import gateway_process

    service, url = own_valkey
    limits = LIMITS.model_copy(update={"stream_comment_s": 5.0})
    async with gateway_process(redis_url=url, secret=SECRET, limits=limits, client=client) as gateway:

        async def works() -> bool:
            client.scripts = [[accepted(), delta("a"), Pause(0.8), delta("b"), HANG]]
            tries.append(begin(gateway, keys.acme))
            await tries[-1].until(b"}")
            return tries[-1].reply.status == 200

        tries: list[Visit] = []
        await seconds_until(works, 5)
        begun = tries[-1]
        await begun.until(b'"a"')
        stream_id = begun.reply.headers["x-stream-id"]
        service.stop()
        await begun.task
        *_, error, end, rest = begun.reply.body.decode().split("\n\n")
        assert json.loads(error.removeprefix("data: "))["error"]["code"] == "redis_unavailable"
        assert (end, rest) == ("data: [DONE]", "")
        await quiet(gateway)
        assert client.streams[-1].closed == 1, "the engine goes on for nobody"
        away = await resume(gateway, keys.acme, stream_id)
        assert (away.status, away.error["code"]) == (503, "redis_unavailable")
        service.start()

        async def is_back() -> bool:
            found = await resume(gateway, keys.acme, stream_id)
            return found.status == 200 and b"[DONE]" in found.body

        await seconds_until(is_back, 15)
        events = numbered((await resume(gateway, keys.acme, stream_id)).body)
    assert text_of(events[:1]) == "a"
    assert json.loads(events[-2].data)["error"]["code"] == "redis_unavailable"
    assert [event.number for event in events] == list(range(len(events)))
