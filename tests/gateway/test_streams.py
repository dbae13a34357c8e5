"""Streams that outlive their connection: cut, resumed, read by several, cancelled, forgotten."""

from __future__ import annotations

import asyncio
import json

import pytest
import redis

from api.gateway.app import Gateway
from api.gateway.http.answer import COMMENT
from api.gateway.stages.limits import Limits
from api.gateway.streams.event_log import MAX_EVENTS_READ, LogEntry, LogKind, LogState
from inference_worker.protocol import names
from inference_worker.protocol.faults import InvalidParameter
from inference_worker.protocol.messages import FailureKind, Meter, Outcome, RequestEnded
from tests.gateway.conftest import Keys, facts_of
from tests.gateway.driver import CHAT, call, chat, visit
from tests.gateway.resumable import CONTINUE, WORDS, begin, numbered, resume, script, text_of, whole
from tests.gateway.scripted import (
    HANG,
    METER,
    Pause,
    ScriptedClient,
    accepted,
    delta,
    done,
    failed,
    finished,
    lost,
)


@pytest.fixture
def limits() -> Limits:
    """Times that a busy machine does not reach."""
    return Limits(gateway_max_requests=8, stream_comment_s=0.2, total_timeout_s=60.0, detached_grace_s=0.2)


async def records(gateway: Gateway, redis_client: redis.Redis, endpoint: str) -> list[RequestEnded]:
    """The records of all requests to an endpoint, once no detached one runs any more."""
    async with asyncio.timeout(5):
        while gateway.endpoints.generation.detached.running_count or gateway.recorder.backlog:
            await asyncio.sleep(0.005)
    ended = [fact for fact in facts_of(redis_client) if isinstance(fact, RequestEnded)]
    assert gateway.capacity.requests.in_use == 0
    return [fact for fact in ended if fact.endpoint == endpoint]


async def test_a_detached_stream_has_an_id_and_numbers_and_else_the_events_of_a_plain_one(
    gateway: Gateway, keys: Keys, client: ScriptedClient, redis_client: redis.Redis
) -> None:
    client.scripts = [script(), script()]
    plain = await chat(gateway, keys.acme, stream=True)
    reply = await whole(gateway, keys.acme)
    events = numbered(reply.body)
    assert [event.number for event in events] == list(range(len(WORDS) + 1))
    assert b"".join(b"data: %s\n\n" % event.data.encode() for event in events) == plain.body.replace(
        COMMENT, b""
    )
    assert (reply.status, reply.headers["content-type"]) == (200, plain.headers["content-type"])
    assert reply.headers["x-stream-id"] == "chatcmpl-" + client.calls[1].request_id.removeprefix("req_")
    assert json.loads(client.calls[1].body)["stream_options"] == {}
    _, detached = await records(gateway, redis_client, "/v1/chat/completions")
    assert (detached.outcome, detached.status, detached.relayed) == (Outcome.COMPLETED, 200, METER)
    assert detached.streamed
    assert detached.first_token_s is not None


@pytest.mark.honours("chat", "stream_options")
async def test_a_stream_cut_at_every_event_and_resumed_is_the_uncut_one(
    gateway: Gateway, keys: Keys, client: ScriptedClient, redis_client: redis.Redis
) -> None:
    for cut in range(len(WORDS) + 1):
        client.scripts = [script(gap_s=0.01)]
        begun = begin(gateway, keys.acme)
        await begun.until(b"id: %d\n" % cut)
        begun.leave()
        await begun.task
        before = [event for event in numbered(begun.reply.body) if event.number <= cut]
        stream_id = begun.reply.headers["x-stream-id"]
        after = await resume(gateway, keys.acme, stream_id, cut)
        joined = before + numbered(after.body)
        assert [event.number for event in joined] == list(range(len(WORDS) + 1)), f"cut at {cut}"
        assert text_of(joined) == "".join(WORDS)
        assert joined[-1].data == "[DONE]"
        header = {"last-event-id": str(cut)}
        again = await call(gateway, "GET", f"/v1/streams/{stream_id}", key=keys.acme, headers=header)
        assert (again.body, again.status) == (after.body, 200)
    made = await records(gateway, redis_client, "/v1/chat/completions")
    assert [(fact.outcome, fact.relayed) for fact in made] == [(Outcome.COMPLETED, METER)] * (len(WORDS) + 1)


async def test_a_client_that_leaves_before_the_first_event_finds_the_whole_stream_later(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    client.scripts = [[accepted(), Pause(0.1), *script()[1:]]]
    begun = begin(gateway, keys.acme)
    while not client.calls:
        await asyncio.sleep(0.005)
    begun.leave()
    await begun.task
    assert gateway.capacity.requests.in_use == 1, "what runs on keeps its place"
    stream_id = "chatcmpl-" + client.calls[0].request_id.removeprefix("req_")
    assert text_of(numbered((await resume(gateway, keys.acme, stream_id)).body)) == "".join(WORDS)


async def test_two_readers_on_two_gateways_see_the_same_while_it_is_made(
    gateway: Gateway, keys: Keys, client: ScriptedClient, second: Gateway
) -> None:
    client.scripts = [script(gap_s=0.1)]
    begun = begin(gateway, keys.acme)
    await begun.until(b"id: 1\n")
    stream_id = begun.reply.headers["x-stream-id"]
    here, there = await asyncio.gather(
        resume(gateway, keys.acme, stream_id), resume(second, keys.acme, stream_id, 0)
    )
    await begun.task
    assert numbered(here.body) == numbered(begun.reply.body)
    assert numbered(there.body) == numbered(begun.reply.body)[1:]


async def test_a_reader_is_woken_by_new_events_and_need_not_look_for_them(
    gateway: Gateway, keys: Keys
) -> None:
    logs = gateway.endpoints.generation.log_readers.logs
    await logs.create("chatcmpl-woken", keys.acme_id, LogKind.CHAT)
    log = await logs.find("chatcmpl-woken", keys.acme_id)
    assert log is not None
    reader = aiter(logs.follow(log, -1, poll_s=60))
    for number in range(3):
        coming = asyncio.ensure_future(anext(reader))
        await asyncio.sleep(0.05)
        assert not coming.done()
        await logs.append("chatcmpl-woken", keys.acme_id, number, [b"data: %d" % number])
        async with asyncio.timeout(5):
            assert await coming == [LogEntry(number, b"data: %d" % number, False)]
    await logs.append("chatcmpl-woken", keys.acme_id, 3, [b"data: [DONE]"], LogState.COMPLETED)
    assert [entry.is_last async for entries in reader for entry in entries] == [True]


async def test_a_long_stream_is_read_in_portions_and_whole(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    count = 2 * MAX_EVENTS_READ + 7
    client.scripts = [[accepted(), [delta(f"{number} ") for number in range(count)], [done(), finished()]]]
    reply = await whole(gateway, keys.acme)
    events = numbered(reply.body)
    assert [event.number for event in events] == list(range(count + 1))
    assert text_of(events) == "".join(f"{number} " for number in range(count))
    again = await resume(gateway, keys.acme, reply.headers["x-stream-id"], 3)
    assert numbered(again.body) == events[4:]


@pytest.mark.parametrize("options", [{}, {"stream_options": {"on_disconnect": "cancel"}}])
async def test_without_the_callers_word_who_leaves_cancels(
    gateway: Gateway,
    keys: Keys,
    client: ScriptedClient,
    redis_client: redis.Redis,
    options: dict[str, object],
) -> None:
    client.scripts = [[accepted(), delta("a"), HANG]]
    body = {**CHAT, "stream": True, **options}
    begun = visit(gateway, "POST", "/v1/chat/completions", key=keys.acme, body=body)
    await begun.until(b'"a"')
    begun.leave()
    await begun.task
    assert client.streams[0].closed == 1
    assert "x-stream-id" not in begun.reply.headers
    (record,) = await records(gateway, redis_client, "/v1/chat/completions")
    assert (record.outcome, record.relayed) == (Outcome.CANCELLED, Meter(completion_tokens=1))
    assert redis_client.keys("cyllm:stream*") == []


@pytest.mark.criterion("5.2")
@pytest.mark.parametrize("elsewhere", [False, True])
async def test_a_cancel_stops_the_engine_from_any_gateway_and_is_recorded_as_such(
    gateway: Gateway,
    keys: Keys,
    client: ScriptedClient,
    redis_client: redis.Redis,
    second: Gateway,
    elsewhere: bool,
) -> None:
    client.scripts = [[accepted(), delta("a"), HANG]]
    begun = begin(gateway, keys.acme)
    await begun.until(b'"a"')
    stream_id = begun.reply.headers["x-stream-id"]
    asked = second if elsewhere else gateway
    reply = await call(asked, "POST", f"/v1/streams/{stream_id}/cancel", key=keys.acme)
    assert reply.document == {"id": stream_id, "object": "stream", "status": "cancelled"}
    await begun.task
    again = await call(asked, "POST", f"/v1/streams/{stream_id}/cancel", key=keys.acme)
    assert again.document == reply.document, "cancelling twice is no error"
    assert client.streams[0].closed == 1
    text, error, end = numbered(begun.reply.body)
    assert (json.loads(error.data)["error"]["code"], end.data) == ("request_cancelled", "[DONE]")
    assert [text.number, error.number, end.number] == [0, 1, 2]
    (record,) = await records(gateway, redis_client, "/v1/chat/completions")
    assert (record.outcome, record.error_code, record.status) == (Outcome.CANCELLED, "request_cancelled", 200)
    assert record.relayed == Meter(completion_tokens=1)


async def test_a_deleted_stream_is_stopped_and_gone(
    gateway: Gateway, keys: Keys, client: ScriptedClient, redis_client: redis.Redis
) -> None:
    client.scripts = [[accepted(), delta("a"), HANG]]
    begun = begin(gateway, keys.acme)
    await begun.until(b'"a"')
    stream_id = begun.reply.headers["x-stream-id"]
    reply = await call(gateway, "DELETE", f"/v1/streams/{stream_id}", key=keys.acme)
    assert reply.document == {"id": stream_id, "object": "stream.deleted", "deleted": True}
    await begun.task
    assert begun.reply.complete
    assert (await resume(gateway, keys.acme, stream_id)).status == 404
    (record,) = await records(gateway, redis_client, "/v1/chat/completions")
    assert (record.outcome, client.streams[0].closed) == (Outcome.CANCELLED, 1)
    assert redis_client.keys("cyllm:stream:*") == []


async def test_an_error_before_the_first_event_has_its_status_and_leaves_no_stream(
    gateway: Gateway, keys: Keys, client: ScriptedClient, redis_client: redis.Redis
) -> None:
    fault = InvalidParameter(param="top_k", reason="no")
    client.scripts = [[failed(FailureKind.REQUEST, 400, fault=fault)]]
    reply = await whole(gateway, keys.acme)
    assert (reply.status, reply.error["code"], reply.error["param"]) == (400, "invalid_value", "top_k")
    (record,) = await records(gateway, redis_client, "/v1/chat/completions")
    assert (record.outcome, record.status) == (Outcome.REFUSED, 400)
    assert redis_client.keys("cyllm:stream:*") == []


async def test_an_error_after_it_is_the_last_event_for_every_reader(
    gateway: Gateway, keys: Keys, client: ScriptedClient, redis_client: redis.Redis
) -> None:
    client.scripts = [[accepted(), delta("a"), lost()]]
    reply = await whole(gateway, keys.acme)
    _, error, end = numbered(reply.body)
    assert (json.loads(error.data)["error"]["code"], end.data, end.number) == ("worker_lost", "[DONE]", 2)
    again = await resume(gateway, keys.acme, reply.headers["x-stream-id"], 0)
    assert numbered(again.body) == [error, end]
    (record,) = await records(gateway, redis_client, "/v1/chat/completions")
    assert (record.outcome, record.error_code) == (Outcome.LOST, "worker_lost")


@pytest.mark.parametrize(
    ("query", "headers", "code", "param"),
    [
        ("?starting_after=x", {}, "invalid_type", "starting_after"),
        ("?starting_after=-1", {}, "integer_below_min_value", "starting_after"),
        ("?starting_after=99", {}, "invalid_value", "starting_after"),
        ("?starting_after=1&starting_after=2", {}, "invalid_value", "starting_after"),
        ("?starting_after=" + "9" * 40, {}, "invalid_type", "starting_after"),
        ("?starting_after=1", {"last-event-id": "1"}, "invalid_value", "starting_after"),
        ("", {"last-event-id": "١"}, "invalid_type", "Last-Event-ID"),
        ("?after=1", {}, "unknown_parameter", "after"),
    ],
)
async def test_a_wrong_starting_point_is_named(
    gateway: Gateway,
    keys: Keys,
    client: ScriptedClient,
    query: str,
    headers: dict[str, str],
    code: str,
    param: str,
) -> None:
    client.scripts = [script()]
    stream_id = (await whole(gateway, keys.acme)).headers["x-stream-id"]
    sent = {name: value.encode().decode("latin-1") for name, value in headers.items()}
    reply = await call(gateway, "GET", f"/v1/streams/{stream_id}{query}", key=keys.acme, headers=sent)
    assert (reply.status, reply.error["code"], reply.error["param"]) == (400, code, param)


async def test_on_disconnect_is_only_for_streams_and_has_two_values(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    whole_answer = await chat(gateway, keys.acme, stream_options=CONTINUE["stream_options"])
    assert (whole_answer.status, whole_answer.error["param"]) == (400, "stream_options")
    odd = await chat(gateway, keys.acme, stream=True, stream_options={"on_disconnect": "stay"})
    assert (odd.status, odd.error["param"]) == (400, "stream_options.on_disconnect")
    assert client.calls == []


@pytest.mark.honours("completions", "stream_options")
async def test_completions_can_be_resumed_as_well(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    client.scripts = [script()]
    body = {"model": "tiny", "prompt": "x", **CONTINUE}
    reply = await call(gateway, "POST", "/v1/completions", key=keys.acme, body=body)
    stream_id = reply.headers["x-stream-id"]
    assert stream_id.startswith("cmpl-")
    assert (await resume(gateway, keys.acme, stream_id)).body == reply.body


async def test_head_tells_that_there_is_a_stream_without_reading_it(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    client.scripts = [[accepted(), delta("a"), HANG]]
    begun = begin(gateway, keys.acme)
    await begun.until(b'"a"')
    path = f"/v1/streams/{begun.reply.headers['x-stream-id']}"
    head = await call(gateway, "HEAD", path, key=keys.acme)
    assert (head.status, head.body, head.complete) == (200, b"", True)
    await call(gateway, "DELETE", path, key=keys.acme)
    await begun.task


async def test_the_log_lives_on_for_a_while_after_its_end(
    gateway: Gateway, keys: Keys, client: ScriptedClient, redis_client: redis.Redis
) -> None:
    client.scripts = [[accepted(), delta("a"), HANG]]
    begun = begin(gateway, keys.acme)
    await begun.until(b'"a"')
    stream_id = begun.reply.headers["x-stream-id"]
    limits = gateway.limits
    for key in (names.stream_key(stream_id), names.stream_meta_key(stream_id)):
        assert redis_client.ttl(key) > limits.stream_log_keep_s, "it may expire while it is written"
    await call(gateway, "POST", f"/v1/streams/{stream_id}/cancel", key=keys.acme)
    await begun.task
    for key in (names.stream_key(stream_id), names.stream_meta_key(stream_id)):
        assert 0 < redis_client.ttl(key) <= limits.stream_log_keep_s
