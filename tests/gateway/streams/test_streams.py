"""Resumable streams: events, resumption and readers on several gateways."""

from __future__ import annotations

import asyncio
import json

import pytest
import redis

from api.gateway.app import Gateway
from api.gateway.streams.event_logs.event_log import MAX_EVENTS_READ, LogEntry, LogState
from api.gateway.streams.output.closing_events import LogKind
from inference_worker.protocol import sse
from inference_worker.protocol.messages import Outcome
from tests.gateway.conftest import Keys
from tests.gateway.harness.calls import (
    CHAT,
    COMPLETIONS,
    RESUMABLE,
    chat,
    post,
    resumable_chat,
    resume,
    start_resumable_chat,
)
from tests.gateway.harness.conditions import eventually
from tests.gateway.harness.driver import call
from tests.gateway.harness.events import chat_text, numbered_events
from tests.gateway.harness.records import settled_records
from tests.gateway.harness.scripted import ScriptedClient
from tests.gateway.harness.scripts import (
    HANG,
    METER,
    TEXT,
    WORDS,
    accepted,
    chat_script,
    delta,
    done,
    finished,
)
from tests.patience import PATIENCE_S


async def test_a_resumable_stream_has_an_id_and_the_events_of_a_plain_one_with_numbers(
    gateway: Gateway, keys: Keys, client: ScriptedClient, redis_client: redis.Redis
) -> None:
    client.scripts = [chat_script(), chat_script()]
    plain = await chat(gateway, keys.acme, stream=True)
    reply = await resumable_chat(gateway, keys.acme)
    events = numbered_events(reply.body)
    assert [event.number for event in events] == list(range(len(WORDS) + 1))
    plain_body = b"".join(b"data: %s\n\n" % event.data.encode() for event in events)
    assert plain_body == plain.body.replace(sse.COMMENT, b"")
    assert (reply.status, reply.headers["content-type"]) == (200, plain.headers["content-type"])
    assert reply.headers["x-stream-id"] == "chatcmpl-" + client.calls[1].request_id.removeprefix("req_")
    assert "stream_options" not in json.loads(client.calls[1].body)
    _, record = await settled_records(gateway, redis_client, CHAT)
    assert (record.outcome, record.status, record.relayed) == (Outcome.COMPLETED, 200, METER)
    assert record.streamed
    assert record.first_token_s is not None


@pytest.mark.honours("chat", "stream_options")
async def test_a_stream_cut_at_any_event_can_be_resumed_without_loss(
    gateway: Gateway, keys: Keys, client: ScriptedClient, redis_client: redis.Redis
) -> None:
    for cut in range(len(WORDS) + 1):
        client.scripts = [chat_script(gap_s=0.01)]
        connection = start_resumable_chat(gateway, keys.acme)
        await connection.wait_for(b"id: %d\n" % cut)
        await connection.close()
        before = [event for event in numbered_events(connection.reply.body) if event.number <= cut]
        stream_id = connection.reply.headers["x-stream-id"]
        remainder = await resume(gateway, keys.acme, stream_id, cut)
        events = before + numbered_events(remainder.body)
        assert [event.number for event in events] == list(range(len(WORDS) + 1)), f"cut at {cut}"
        assert chat_text(events) == TEXT
        assert events[-1].data == "[DONE]"
        headers = {"last-event-id": str(cut)}
        again = await call(gateway, "GET", f"/v1/streams/{stream_id}", key=keys.acme, headers=headers)
        assert (again.body, again.status) == (remainder.body, 200)
    records = await settled_records(gateway, redis_client, CHAT)
    assert len(records) == len(WORDS) + 1
    assert {(record.outcome, record.relayed) for record in records} == {(Outcome.COMPLETED, METER)}


async def test_a_client_that_disconnects_before_the_first_event_can_read_the_whole_stream_later(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    release = asyncio.Event()
    client.scripts = [chat_script(until=release)]
    connection = start_resumable_chat(gateway, keys.acme)
    await eventually(lambda: bool(client.calls))
    await connection.close()
    assert gateway.capacity.requests.in_use == 1, "a detached request keeps its slot"
    release.set()
    stream_id = "chatcmpl-" + client.calls[0].request_id.removeprefix("req_")
    assert chat_text(numbered_events((await resume(gateway, keys.acme, stream_id)).body)) == TEXT


async def test_two_readers_on_two_gateways_receive_the_same_running_stream(
    gateway: Gateway, keys: Keys, client: ScriptedClient, second_gateway: Gateway
) -> None:
    client.scripts = [chat_script(gap_s=0.1)]
    connection = start_resumable_chat(gateway, keys.acme)
    await connection.wait_for(b"id: 1\n")
    stream_id = connection.reply.headers["x-stream-id"]
    first_reader, second_reader = await asyncio.gather(
        resume(gateway, keys.acme, stream_id), resume(second_gateway, keys.acme, stream_id, 0)
    )
    await connection.finish()
    assert numbered_events(first_reader.body) == numbered_events(connection.reply.body)
    assert numbered_events(second_reader.body) == numbered_events(connection.reply.body)[1:]


async def test_new_events_wake_a_reader_without_polling(gateway: Gateway, keys: Keys) -> None:
    logs = gateway.endpoints.streams.logs
    await logs.create("chatcmpl-woken", keys.acme_id, LogKind.CHAT)
    log = await logs.find("chatcmpl-woken", keys.acme_id)
    assert log is not None
    reader = aiter(logs.follow(log, -1, poll_s=60))
    for number in range(3):
        next_entries = asyncio.ensure_future(anext(reader))
        await asyncio.sleep(0.05)
        assert not next_entries.done()
        await logs.append("chatcmpl-woken", keys.acme_id, number, [b"data: %d" % number])
        async with asyncio.timeout(PATIENCE_S):
            assert await next_entries == [LogEntry(number, b"data: %d" % number, False)]
    await logs.append("chatcmpl-woken", keys.acme_id, 3, [b"data: [DONE]"], LogState.COMPLETED)
    assert [entry.is_last async for entries in reader for entry in entries] == [True]


async def test_a_long_stream_is_read_completely_in_several_portions(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    count = 2 * MAX_EVENTS_READ + 7
    client.scripts = [[accepted(), [delta(f"{number} ") for number in range(count)], [done(), finished()]]]
    reply = await resumable_chat(gateway, keys.acme)
    events = numbered_events(reply.body)
    assert [event.number for event in events] == list(range(count + 1))
    assert chat_text(events) == "".join(f"{number} " for number in range(count))
    again = await resume(gateway, keys.acme, reply.headers["x-stream-id"], 3)
    assert numbered_events(again.body) == events[4:]


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
async def test_an_invalid_starting_point_is_rejected_by_name(
    gateway: Gateway,
    keys: Keys,
    client: ScriptedClient,
    query: str,
    headers: dict[str, str],
    code: str,
    param: str,
) -> None:
    client.scripts = [chat_script()]
    stream_id = (await resumable_chat(gateway, keys.acme)).headers["x-stream-id"]
    headers = {name: value.encode().decode("latin-1") for name, value in headers.items()}
    reply = await call(gateway, "GET", f"/v1/streams/{stream_id}{query}", key=keys.acme, headers=headers)
    assert (reply.status, reply.error["code"], reply.error["param"]) == (400, code, param)


async def test_on_disconnect_requires_a_stream_and_has_two_values(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    reply = await chat(gateway, keys.acme, stream_options=RESUMABLE["stream_options"])
    assert (reply.status, reply.error["param"]) == (400, "stream_options")
    reply = await chat(gateway, keys.acme, stream=True, stream_options={"on_disconnect": "stay"})
    assert (reply.status, reply.error["param"]) == (400, "stream_options.on_disconnect")
    assert client.calls == []


@pytest.mark.honours("completions", "stream_options")
async def test_completions_can_be_resumed(gateway: Gateway, keys: Keys, client: ScriptedClient) -> None:
    client.scripts = [chat_script()]
    reply = await post(gateway, keys.acme, COMPLETIONS, **RESUMABLE)
    stream_id = reply.headers["x-stream-id"]
    assert stream_id.startswith("cmpl-")
    assert (await resume(gateway, keys.acme, stream_id)).body == reply.body


async def test_head_confirms_a_stream_without_reading_it(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    client.scripts = [[accepted(), delta("a"), HANG]]
    connection = start_resumable_chat(gateway, keys.acme)
    await connection.wait_for(b'"a"')
    path = f"/v1/streams/{connection.reply.headers['x-stream-id']}"
    head = await call(gateway, "HEAD", path, key=keys.acme)
    assert (head.status, head.body, head.is_complete) == (200, b"", True)
    await call(gateway, "DELETE", path, key=keys.acme)
    await connection.finish()
