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
from tests.gateway.harness.records import RecordReader
from tests.gateway.harness.scripted import ScriptedClient
from tests.gateway.harness.scripts import (
    HANG,
    Pause,
    accepted,
    body_script,
    delta,
    failed,
    finished,
    lost,
    valid_document,
)

UPSTREAM = failed(FailureKind.UPSTREAM, 504, fault=UpstreamSilence(limit_s=0.2))


@pytest.mark.criterion("4.6")
@pytest.mark.parametrize(
    ("script", "stream", "stage", "limit"),
    [
        ([HANG], True, "queue", "0.4 s"),
        ([HANG], False, "queue", "0.4 s"),
        ([accepted(), HANG], True, "first_token", "0.4 s"),
        ([accepted(), delta("a"), HANG], True, "inter_token", "0.4 s"),
        ([accepted(), HANG], False, "total", "3 s"),
        ([accepted(), *[step for _ in range(20) for step in (Pause(0.3), delta("a"))]], True, "total", "3 s"),
        ([Pause(0.2), UPSTREAM], False, "upstream", "0.2 s"),
        ([Pause(0.2), UPSTREAM], True, "upstream", "0.2 s"),
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
    limit: str,
) -> None:
    client.scripts = [script]
    reply = await chat(gateway, keys.acme, stream=stream)
    record = await settled_record()
    assert (record.error_code, record.outcome) == (f"{stage}_timeout", Outcome.FAILED)
    assert client.streams[0].close_count == 1
    text = reply.body.decode()
    assert f"stage '{stage}'" in text
    assert f"limit {limit}" in text
    elapsed_s = float(re.findall(r": ([0-9.]+) s elapsed", text)[0])
    assert float(limit.split()[0]) <= elapsed_s + 0.05 < float(limit.split()[0]) + 1
    assert f'"code": "{stage}_timeout"' in text
    if not stream:
        assert reply.status == 504
    else:
        assert text.endswith("data: [DONE]\n\n")


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
    client.scripts = [[Pause(0.15), accepted(), Pause(0.25), delta("a"), Pause(0.15), delta("b"), finished()]]
    reply = await chat(gateway, keys.acme, stream=True)
    body = reply.body.decode()
    before, between = body.split('"a"')[0], body.split('"a"')[1].split('"b"')[0]
    assert before.count(": waiting\n") >= 3
    assert between.count(": waiting\n") == 1
    assert body.endswith("data: [DONE]\n\n")


async def test_another_worker_can_take_over_after_a_comment(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    client.scripts = [[accepted(), Pause(0.15), lost()], [accepted(), delta("b"), finished()]]
    reply = await chat(gateway, keys.acme, stream=True)
    assert reply.body.startswith(b": waiting\n")
    assert b'"b"' in reply.body
    assert b"error" not in reply.body


@pytest.mark.case("serving.27")
async def test_a_body_that_is_not_streamed_contains_no_comment(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    client.scripts = [body_script(gap_s=0.3)]
    assert (await chat(gateway, keys.acme)).body == valid_document(Operation.CHAT_COMPLETIONS)


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
    disconnect_time = asyncio.get_running_loop().time()
    await connection.close()
    assert client.streams[0].close_count == 1
    assert client.streams[0].close_time - disconnect_time < 0.2, "a timeout ended it, not the disconnect"
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
    client.scripts = [body_script(gap_s=0.5) for _ in range(slot_count)]
    connections: list[Connection] = []
    # The last slot is reserved for a tenant that has none.
    for key in (*[keys.acme] * (slot_count - 1), keys.globex):
        connections.append(start_chat(gateway, key))
        await eventually(lambda: gateway.capacity.requests.in_use >= len(connections))
    for key in (keys.acme, keys.globex):
        reply = await chat(gateway, key)
        assert (reply.status, reply.error["code"], reply.headers["retry-after"]) == (503, "overloaded", "1")
    for connection in connections:
        assert (await connection.finish()).status == 200
    client.scripts = [[finished(b"{}")]]
    assert (await chat(gateway, keys.acme)).status == 200


async def test_a_client_that_stops_reading_is_dropped_at_the_total_timeout(
    gateway: Gateway, keys: Keys, client: ScriptedClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.gateway.app.ERROR_WRITE_TIMEOUT_S", 0.1)
    client.scripts = [[accepted(), delta("a"), HANG]]
    connection = start_chat(gateway, keys.acme, stream=True)
    connection.is_reading = False
    start = time.monotonic()
    await connection.finish()
    assert 3.0 < time.monotonic() - start < 6.0
    assert gateway.capacity.requests.in_use == 0
    assert client.streams[0].close_count == 1
