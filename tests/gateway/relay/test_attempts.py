"""Attempts: failed ones are retried on another worker, and the record counts them."""

from __future__ import annotations

from typing import Any

import pytest

from api.gateway.app import Gateway
from api.gateway.settings import Limits
from inference_worker.protocol.messages import FailureKind, Outcome
from tests.gateway.conftest import LONG_LIMITS, Keys
from tests.gateway.harness.calls import chat, start_chat
from tests.gateway.harness.conditions import eventually
from tests.gateway.harness.events import documents_of
from tests.gateway.harness.records import RecordReader
from tests.gateway.harness.scripted import ScriptedClient
from tests.gateway.harness.scripts import HANG, accepted, delta, failed, finished, lost

BODY = b'{"id": "chatcmpl-1", "choices": []}'


@pytest.fixture
def limits() -> Limits:
    """No comments even on a busy machine, and a short wait for the first token."""
    return LONG_LIMITS.model_copy(update={"stream_comment_s": 60.0, "first_token_timeout_s": 2.0})


async def test_a_worker_that_dies_before_the_first_token_is_replaced(
    gateway: Gateway, keys: Keys, client: ScriptedClient, settled_record: RecordReader
) -> None:
    client.scripts = [
        [accepted(), lost()],
        [failed(FailureKind.REFUSED)],
        [accepted(), delta("a"), finished()],
    ]
    reply = await chat(gateway, keys.acme, stream=True)
    assert documents_of(reply.body)[0]["choices"]
    assert client.exclusions == [(), ("worker-1",), ("worker-1", "worker-2")]
    assert [stream.close_count for stream in client.streams] == [1, 1, 1]
    record = await settled_record()
    assert (record.attempt, record.worker_id, record.outcome) == (3, "worker-3", Outcome.COMPLETED)


@pytest.mark.parametrize(
    ("script", "status", "code"),
    [
        ([lost("worker_died")], 503, "worker_lost"),
        ([lost("events_lost")], 502, "events_lost"),
        ([lost("transport_lost")], 503, "redis_unavailable"),
        ([failed(FailureKind.REFUSED)], 503, "no_worker_available"),
        ([failed(FailureKind.UPSTREAM, 502)], 502, "upstream_error"),
        ([failed(FailureKind.ENGINE, 500, "CUDA error at 0x7f")], 500, "engine_error"),
        ([failed(FailureKind.CANCELLED)], 503, "worker_lost"),
    ],
)
async def test_without_another_worker_the_first_failure_is_the_error(
    gateway: Gateway, keys: Keys, client: ScriptedClient, script: list[Any], status: int, code: str
) -> None:
    client.scripts = [script]
    reply = await chat(gateway, keys.acme, stream=True)
    assert (reply.status, reply.error["code"], reply.error["type"]) == (status, code, "server_error")
    assert "CUDA" not in reply.error["message"]
    assert ("retry-after" in reply.headers) == (status == 503)


async def test_the_number_of_attempts_is_limited(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    client.scripts = [[lost()] for _ in range(9)]
    reply = await chat(gateway, keys.acme)
    assert (reply.status, reply.error["code"], len(client.calls)) == (503, "worker_lost", 3)


async def test_an_engine_error_is_not_retried_on_another_worker(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    client.scripts = [[failed(FailureKind.ENGINE, 500)], [finished(BODY)]]
    assert (await chat(gateway, keys.acme)).status == 500
    assert len(client.calls) == 1


async def test_the_meter_of_a_failed_attempt_is_not_used_for_the_next(
    gateway: Gateway, keys: Keys, client: ScriptedClient, settled_record: RecordReader
) -> None:
    client.scripts = [[failed(FailureKind.REFUSED)], [accepted(), HANG]]
    reply = await chat(gateway, keys.acme, stream=True)
    assert (reply.status, reply.error["code"]) == (504, "first_token_timeout")
    record = await settled_record()
    assert (record.attempt, record.worker_id, record.relayed) == (2, "worker-2", None)


async def test_an_attempt_that_may_have_reached_a_worker_is_recorded(
    gateway: Gateway, keys: Keys, client: ScriptedClient, settled_record: RecordReader
) -> None:
    client.is_unreachable = True
    await chat(gateway, keys.acme)
    assert (await settled_record()).attempt == 1


async def test_an_attempt_is_recorded_if_the_client_disconnects_while_it_is_sent(
    gateway: Gateway, keys: Keys, client: ScriptedClient, settled_record: RecordReader
) -> None:
    client.submit_s = 10.0
    connection = start_chat(gateway, keys.acme)
    await eventually(lambda: bool(client.calls))
    await connection.close()
    record = await settled_record()
    assert (record.outcome, record.attempt, record.worker_id) == (Outcome.CANCELLED, 1, None)


async def test_the_record_keeps_the_last_attempt_if_no_other_worker_is_left(
    gateway: Gateway, keys: Keys, client: ScriptedClient, settled_record: RecordReader
) -> None:
    client.scripts = [[lost()]]
    await chat(gateway, keys.acme)
    record = await settled_record()
    assert (record.attempt, record.worker_id, record.outcome) == (1, "worker-1", Outcome.LOST)


async def test_a_request_without_a_worker_has_no_attempt(
    gateway: Gateway, keys: Keys, client: ScriptedClient, settled_record: RecordReader
) -> None:
    await chat(gateway, keys.acme)
    record = await settled_record()
    assert (record.attempt, record.worker_id, record.outcome) == (0, None, Outcome.REFUSED)
