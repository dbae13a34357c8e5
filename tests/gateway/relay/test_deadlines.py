"""Timeouts of the stages, comments during silence, disconnects and a stopping server."""

from __future__ import annotations

import asyncio
import re
import time
from typing import Any

import pytest

from api.gateway.app import Gateway
from inference_worker.protocol.faults import UpstreamSilence
from inference_worker.protocol.messages import FailureKind, Operation, Outcome
from tests.gateway.conftest import Keys
from tests.gateway.harness.calls import chat, start_chat
from tests.gateway.harness.conditions import eventually
from tests.gateway.harness.driver import Connection
from tests.gateway.harness.gateways import with_limits
from tests.gateway.harness.records import RecordReader
from tests.gateway.harness.scripted import ScriptedClient
from tests.gateway.harness.scripts import (
    HANG,
    VALID_DOCUMENT,
    Pause,
    accepted,
    body_script,
    delta,
    done,
    failed,
    finished,
    lost,
    valid_document,
)

UPSTREAM = failed(FailureKind.UPSTREAM, 504, fault=UpstreamSilence(limit_s=0.2))


@pytest.mark.criterion("4.6")
@pytest.mark.parametrize(
    ("script", "stream", "stage", "limit_s"),
    [
        ([HANG], True, "queue", 0.4),
        ([HANG], False, "queue", 0.4),
        ([accepted(), HANG], True, "first_token", 0.4),
        ([accepted(), delta("a"), HANG], True, "inter_token", 0.4),
        ([accepted(), HANG], False, "total", 1.5),
        ([accepted(), *[step for _ in range(99) for step in (Pause(0.1), delta("a"))]], True, "total", 1.5),
        ([Pause(0.2), UPSTREAM], False, "upstream", 0.2),
        ([Pause(0.2), UPSTREAM], True, "upstream", 0.2),
    ],
)
async def test_a_timeout_names_its_stage_the_elapsed_time_and_the_limit(
    gateway: Gateway,
    keys: Keys,
    client: ScriptedClient,
    settled_record: RecordReader,
    script: list[Any],
    stream: bool,
    stage: str,
    limit_s: float,
) -> None:
    timeout = {f"{stage}_timeout_s": limit_s} if stage != "upstream" else {}
    gateway = with_limits(gateway, stream_comment_s=0.05, **timeout)
    client.scripts = [script]
    reply = await chat(gateway, keys.acme, stream=stream)
    record = await settled_record()
    assert (record.error_code, record.outcome) == (f"{stage}_timeout", Outcome.FAILED)
    assert client.streams[0].close_count == 1
    text = reply.body.decode()
    assert f"stage '{stage}'" in text
    assert f"limit {limit_s} s" in text
    elapsed_s = float(re.findall(r": ([0-9.]+) s elapsed", text)[0])
    assert limit_s <= elapsed_s + 0.05 < 60
    assert f'"code": "{stage}_timeout"' in text
    # On a busy machine, the time may be over before the stream has begun with a comment.
    assert reply.status == 504 or (stream and text.endswith("data: [DONE]\n\n"))


@pytest.mark.criterion("4.6")
async def test_a_short_wait_for_the_worker_does_not_change_the_status(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    client.scripts = [[Pause(0.05), accepted(), finished(b"{}")]]
    assert (await chat(gateway, keys.acme)).status == 200


@pytest.mark.case("serving.27")
async def test_comments_keep_a_silent_stream_open(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    comment = b": waiting\n"
    is_accepted, has_text, goes_on = asyncio.Event(), asyncio.Event(), asyncio.Event()
    client.scripts = [
        [is_accepted, accepted(), has_text, delta("a"), goes_on, delta("b"), done(), finished()],
    ]
    connection = start_chat(with_limits(gateway, stream_comment_s=0.05), keys.acme, stream=True)
    for count, event in ((2, is_accepted), (4, has_text), (6, goes_on)):
        await eventually(lambda expected=count: connection.reply.body.count(comment) >= expected)  # type: ignore[misc]
        event.set()
    body = (await connection.finish()).body
    assert comment in body.split(b'"a"')[1].split(b'"b"')[0]
    assert body.endswith(b"data: [DONE]\n\n")


async def test_another_worker_can_take_over_after_a_comment(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    client.scripts = [[accepted(), Pause(0.15), lost()], [accepted(), delta("b"), finished()]]
    reply = await chat(with_limits(gateway, stream_comment_s=0.05), keys.acme, stream=True)
    assert reply.body.startswith(b": waiting\n")
    assert b'"b"' in reply.body
    assert b"error" not in reply.body


@pytest.mark.case("serving.27")
async def test_a_body_that_is_not_streamed_contains_no_comment(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    client.scripts = [[accepted(), Pause(0.2), finished(VALID_DOCUMENT)]]
    reply = await chat(with_limits(gateway, stream_comment_s=0.05), keys.acme)
    assert reply.body == valid_document(Operation.CHAT_COMPLETIONS)


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.case("serving.19", "serving.20")
async def test_a_disconnect_stops_the_engine_at_once(
    gateway: Gateway, keys: Keys, client: ScriptedClient, settled_record: RecordReader, stream: bool
) -> None:
    client.scripts = [[accepted(), *([delta("a")] if stream else []), HANG]]
    connection = start_chat(gateway, keys.acme, stream=stream)
    if stream:
        await connection.wait_for(b'"a"')
    else:
        await eventually(lambda: client.received_count == 1)
    assert gateway.capacity.requests.in_use == 1
    await connection.close()
    assert client.streams[0].close_count == 1
    record = await settled_record()
    assert (record.outcome, record.error_code) == (Outcome.CANCELLED, "client_disconnected")
    assert record.status == (200 if stream else 499)
    assert not connection.reply.is_complete


@pytest.mark.case("serving.20")
async def test_a_disconnect_before_the_worker_accepts_is_recorded(
    gateway: Gateway, keys: Keys, client: ScriptedClient, settled_record: RecordReader
) -> None:
    client.scripts = [[HANG]]
    connection = start_chat(gateway, keys.acme)
    await connection.close()
    assert (await settled_record()).outcome == Outcome.CANCELLED


async def test_a_request_interrupted_by_a_stopping_server_is_recorded(
    gateway: Gateway, keys: Keys, client: ScriptedClient, settled_record: RecordReader
) -> None:
    client.scripts = [[accepted(), HANG]]
    connection = start_chat(gateway, keys.acme)
    await eventually(lambda: client.received_count == 1)
    connection.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await connection.finish()
    record = await settled_record()
    assert (record.outcome, record.error_code) == (Outcome.FAILED, "gateway_stopping")
    assert (connection.reply.status, connection.reply.error["code"]) == (503, "gateway_stopping")
    assert client.streams[0].close_count == 1


@pytest.mark.criterion("4.2")
async def test_a_stopping_server_ends_a_stream_with_an_error_event(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    client.scripts = [[accepted(), delta("a"), HANG]]
    connection = start_chat(gateway, keys.acme, stream=True)
    await connection.wait_for(b'"a"')
    connection.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await connection.finish()
    assert connection.reply.body.endswith(b'"code": "gateway_stopping"}}\n\ndata: [DONE]\n\n')
    assert connection.reply.is_complete


async def test_a_full_process_rejects_requests_until_slots_are_free(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    slot_count = gateway.limits.gateway_max_requests
    release = asyncio.Event()
    client.scripts = [body_script(until=release) for _ in range(slot_count)]
    connections: list[Connection] = []
    # The last slot is reserved for a tenant that has none.
    for key in (*[keys.acme] * (slot_count - 1), keys.globex):
        connections.append(start_chat(gateway, key))
        await eventually(lambda: len(client.calls) == len(connections))
    for key in (keys.acme, keys.globex):
        reply = await chat(gateway, key)
        assert (reply.status, reply.error["code"], reply.headers["retry-after"]) == (503, "overloaded", "1")
    release.set()
    for connection in connections:
        assert (await connection.finish()).status == 200
    client.scripts = [[finished(b"{}")]]
    assert (await chat(gateway, keys.acme)).status == 200


async def test_a_client_that_stops_reading_is_dropped_at_the_total_timeout(
    gateway: Gateway, keys: Keys, client: ScriptedClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.gateway.app.ERROR_WRITE_TIMEOUT_S", 0.1)
    client.scripts = [[accepted(), delta("a"), HANG]]
    connection = start_chat(with_limits(gateway, total_timeout_s=1.5), keys.acme, stream=True)
    connection.is_reading = False
    start = time.monotonic()
    await connection.finish()
    assert time.monotonic() - start > 1.4
    assert gateway.capacity.requests.in_use == 0
    assert client.streams[0].close_count == 1
