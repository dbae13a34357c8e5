"""Answers, whole and streamed, and what a client sees when a worker fails on the way."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from api.gateway.app import Gateway
from api.gateway.stages.limits import Limits
from inference_worker.protocol.faults import ContextOverflow
from inference_worker.protocol.messages import FailureKind, Meter, Operation, Outcome
from inference_worker.telemetry.log_formatters import TextFormatter
from tests.gateway.conftest import QUICK, Keys
from tests.gateway.driver import CHAT, Reply, call, chat, visit
from tests.gateway.scripted import (
    HANG,
    METER,
    ScriptedClient,
    accepted,
    delta,
    done,
    failed,
    finished,
    lost,
)

ANSWER = b'{"id": "chatcmpl-1", "choices": []}'


@pytest.fixture
def limits() -> Limits:
    """Longer ones: a slow machine must not add a comment, or a timeout, to what is looked at here."""
    return QUICK.model_copy(
        update={
            "stream_comment_s": 60.0,
            "queue_timeout_s": 2.0,
            "first_token_timeout_s": 2.0,
            "inter_token_timeout_s": 2.0,
            "total_timeout_s": 10.0,
        }
    )


def events_of(reply: Reply) -> list[Any]:
    """The data of all events; the body must consist of whole events."""
    *events, rest = reply.body.decode().split("\n\n")
    assert rest == ""
    texts = [event.removeprefix("data: ") for event in events if not event.startswith(":")]
    return [text if text == "[DONE]" else json.loads(text) for text in texts]


async def test_a_whole_answer_is_passed_on_unchanged(
    gateway: Gateway, keys: Keys, client: ScriptedClient, ended: Callable[[], Any]
) -> None:
    client.scripts = [[accepted(), finished(ANSWER)]]
    reply = await chat(gateway, keys.acme, model="default", user="somebody")
    assert (reply.status, reply.body, reply.headers["content-type"]) == (200, ANSWER, "application/json")
    assert reply.headers["content-length"] == str(len(ANSWER))
    body = json.loads(client.calls[0].body)
    assert (body["model"], client.calls[0].operation) == ("tiny", Operation.CHAT_COMPLETIONS)
    assert "user" not in body
    record = await ended()
    assert (record.outcome, record.status, record.error_code) == (Outcome.COMPLETED, 200, None)
    assert (record.model, record.attempt, record.worker_id) == ("tiny", 1, "worker-1")
    assert (record.relayed, record.tenant_id) == (METER, keys.acme_id)


async def test_events_that_arrive_together_are_one_chunk_and_end_with_done(
    gateway: Gateway, keys: Keys, client: ScriptedClient, ended: Callable[[], Any]
) -> None:
    client.scripts = [[accepted(), [delta("a"), delta("b"), delta("c")], delta("d"), finished()]]
    reply = await chat(gateway, keys.acme, stream=True)
    assert reply.headers["content-type"] == "text/event-stream; charset=utf-8"
    texts = [event["choices"][0]["delta"]["content"] for event in events_of(reply)[:-1]]
    assert (texts, events_of(reply)[-1]) == (["a", "b", "c", "d"], "[DONE]")
    assert reply.pieces[0].count(b"data:") == 3
    record = await ended()
    assert record.streamed
    assert record.outcome == Outcome.COMPLETED
    assert 0 < record.first_token_s <= record.duration_s


async def test_the_engines_own_done_is_not_repeated(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    client.scripts = [[accepted(), delta("a"), [done(), finished()]]]
    reply = await chat(gateway, keys.acme, stream=True)
    assert reply.complete
    assert events_of(reply).count("[DONE]") == 1


async def test_tenants_have_different_cache_salts_and_a_tenant_always_the_same(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    client.scripts = [[finished(ANSWER)] for _ in range(3)]
    for key in (keys.acme, keys.globex, keys.acme):
        await chat(gateway, key)
    salts = [json.loads(made.body)["cache_salt"] for made in client.calls]
    assert salts[0] == salts[2] != salts[1]
    assert keys.acme_id not in salts[0]


async def test_a_worker_that_dies_before_the_first_token_is_replaced(
    gateway: Gateway, keys: Keys, client: ScriptedClient, ended: Callable[[], Any]
) -> None:
    client.scripts = [
        [accepted(), lost()],
        [failed(FailureKind.REFUSED)],
        [accepted(), delta("a"), finished()],
    ]
    reply = await chat(gateway, keys.acme, stream=True)
    assert events_of(reply)[0]["choices"]
    assert client.excluded == [(), ("worker-1",), ("worker-1", "worker-2")]
    assert [stream.closed for stream in client.streams] == [1, 1, 1]
    record = await ended()
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
async def test_without_another_worker_the_first_failure_is_the_answer(
    gateway: Gateway, keys: Keys, client: ScriptedClient, script: list[Any], status: int, code: str
) -> None:
    client.scripts = [script]
    reply = await chat(gateway, keys.acme, stream=True)
    assert (reply.status, reply.error["code"], reply.error["type"]) == (status, code, "server_error")
    assert "CUDA" not in reply.error["message"]
    assert ("retry-after" in reply.headers) == (status == 503)


async def test_attempts_are_limited(gateway: Gateway, keys: Keys, client: ScriptedClient) -> None:
    client.scripts = [[lost()] for _ in range(9)]
    reply = await chat(gateway, keys.acme)
    assert (reply.status, reply.error["code"], len(client.calls)) == (503, "worker_lost", 3)


async def test_a_broken_engine_is_not_tried_on_every_worker(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    client.scripts = [[failed(FailureKind.ENGINE, 500)], [finished(ANSWER)]]
    assert (await chat(gateway, keys.acme)).status == 500
    assert len(client.calls) == 1


@pytest.mark.case("serving.24")
async def test_after_the_first_token_a_lost_worker_ends_the_stream_with_an_error_event(
    gateway: Gateway, keys: Keys, client: ScriptedClient, ended: Callable[[], Any]
) -> None:
    client.scripts = [[accepted(), delta("a"), lost()], [finished()]]
    reply = await chat(gateway, keys.acme, stream=True)
    first, error, last = events_of(reply)
    assert first["choices"][0]["delta"]["content"] == "a"
    assert error["error"]["code"] == "worker_lost"
    assert set(error["error"]) == {"message", "type", "param", "code"}
    assert (last, reply.status, reply.complete, len(client.calls)) == ("[DONE]", 200, True, 1)
    record = await ended()
    assert (record.outcome, record.error_code, record.status) == (Outcome.LOST, "worker_lost", 200)


@pytest.mark.case("serving.24")
async def test_what_arrives_with_the_failure_is_still_delivered(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    client.scripts = [[[accepted(), delta("a"), failed(FailureKind.ENGINE, 500)]]]
    first, error, last = events_of(await chat(gateway, keys.acme, stream=True))
    assert (first["choices"][0]["delta"]["content"], error["error"]["code"], last) == (
        "a",
        "engine_error",
        "[DONE]",
    )


@pytest.mark.case("serving.25")
async def test_the_engines_refusal_of_a_stream_keeps_its_status(
    gateway: Gateway, keys: Keys, client: ScriptedClient, ended: Callable[[], Any]
) -> None:
    fault = ContextOverflow(limit_tokens=128, prompt_tokens=129, at_least=True)
    client.scripts = [[failed(FailureKind.REQUEST, 400, fault=fault)]]
    reply = await chat(gateway, keys.acme, stream=True)
    assert (reply.status, reply.error["code"], reply.error["param"]) == (
        400,
        "context_length_exceeded",
        "messages",
    )
    assert "128 tokens" in reply.error["message"]
    assert "129" in reply.error["message"]
    record = await ended()
    assert (record.outcome, record.status, record.attempt) == (Outcome.REFUSED, 400, 1)


async def test_no_worker_and_no_redis_are_told_apart(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    none = await chat(gateway, keys.acme)
    assert (none.status, none.error["code"], none.headers["retry-after"]) == (503, "no_worker_available", "5")
    client.unreachable = True
    away = await chat(gateway, keys.acme)
    assert (away.status, away.error["code"]) == (503, "redis_unavailable")


async def test_completions_take_the_same_way(gateway: Gateway, keys: Keys, client: ScriptedClient) -> None:
    client.scripts = [[accepted(), finished(ANSWER)]]
    body = {"model": "tiny", "prompt": [[1, 2], [3]], "max_tokens": None}
    reply = await call(gateway, "POST", "/v1/completions", key=keys.acme, body=body)
    assert (reply.status, client.calls[0].operation) == (200, Operation.COMPLETIONS)
    assert json.loads(client.calls[0].body)["prompt"] == [[1, 2], [3]]


async def test_a_request_id_goes_in_and_out_and_a_harmful_one_is_replaced(
    gateway: Gateway, keys: Keys, client: ScriptedClient, ended: Callable[[], Any]
) -> None:
    client.scripts = [[finished(ANSWER)]]
    body = {"model": "tiny", "messages": [{"role": "user", "content": "x"}]}
    reply = await call(
        gateway,
        "POST",
        "/v1/chat/completions",
        key=keys.acme,
        body=body,
        headers={"x-request-id": "trace-1.a_b"},
    )
    assert reply.headers["x-request-id"] == client.calls[0].correlation_id == "trace-1.a_b"
    assert (await ended()).correlation_id == "trace-1.a_b"
    for harmful in ("a b", "x" * 129, 'a"b', "a\r\nset-cookie: x"):
        other = await call(gateway, "GET", "/v1/models", headers={"x-request-id": harmful})
        assert other.headers["x-request-id"].startswith("req_")


async def test_a_stream_that_only_ends_is_well_formed(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    client.scripts = [[accepted(), finished()]]
    reply = await chat(gateway, keys.acme, stream=True)
    assert (reply.status, reply.body, reply.complete) == (200, b"data: [DONE]\n\n", True)


async def test_text_that_was_relayed_is_counted_where_no_worker_counts_it(
    gateway: Gateway, keys: Keys, client: ScriptedClient, ended: Callable[[], Any]
) -> None:
    role, quoted = delta(""), delta('"content": "x" \\')
    client.scripts = [[accepted(), role, [delta("a"), quoted], delta("b"), done(), lost()]]
    await chat(gateway, keys.acme, stream=True)
    record = await ended()
    assert (record.attempt, record.relayed) == (1, Meter(completion_tokens=3))


async def test_the_meter_of_a_failed_attempt_is_not_that_of_the_next(
    gateway: Gateway, keys: Keys, client: ScriptedClient, ended: Callable[[], Any]
) -> None:
    client.scripts = [[failed(FailureKind.REFUSED)], [accepted(), HANG]]
    reply = await chat(gateway, keys.acme, stream=True)
    assert (reply.status, reply.error["code"]) == (504, "first_token_timeout")
    record = await ended()
    assert (record.attempt, record.worker_id, record.relayed) == (2, "worker-2", None)


async def test_an_attempt_is_noted_before_it_is_sent_because_a_worker_may_count_it(
    gateway: Gateway, keys: Keys, client: ScriptedClient, ended: Callable[[], Any]
) -> None:
    client.unreachable = True
    await chat(gateway, keys.acme)
    assert (await ended()).attempt == 1


async def test_a_client_that_leaves_during_the_sending_leaves_the_attempt_noted(
    gateway: Gateway, keys: Keys, client: ScriptedClient, ended: Callable[[], Any]
) -> None:
    client.submit_s = 10.0
    begun = visit(gateway, "POST", "/v1/chat/completions", key=keys.acme, body=CHAT)
    async with asyncio.timeout(5):
        while not client.calls:
            await asyncio.sleep(0.01)
    begun.leave()
    await begun.task
    record = await ended()
    assert (record.outcome, record.attempt, record.worker_id) == (Outcome.CANCELLED, 1, None)


async def test_without_a_worker_the_record_keeps_the_attempt_that_was_made(
    gateway: Gateway, keys: Keys, client: ScriptedClient, ended: Callable[[], Any]
) -> None:
    client.scripts = [[lost()]]
    await chat(gateway, keys.acme)
    record = await ended()
    assert (record.attempt, record.worker_id, record.outcome) == (1, "worker-1", Outcome.LOST)


async def test_a_request_that_no_worker_could_take_was_not_attempted(
    gateway: Gateway, keys: Keys, client: ScriptedClient, ended: Callable[[], Any]
) -> None:
    await chat(gateway, keys.acme)
    record = await ended()
    assert (record.attempt, record.worker_id, record.outcome) == (0, None, Outcome.REFUSED)


async def test_the_length_that_workers_report_bounds_the_cost_where_the_registry_has_none(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    client.max_model_len = 777
    client.scripts = [[finished(ANSWER)], [finished(ANSWER)]]
    await chat(gateway, keys.acme)
    await chat(gateway, keys.acme, max_tokens=5)
    assert client.calls[0].cost_tokens == 777
    assert 5 < client.calls[1].cost_tokens < 100


async def test_a_key_pasted_into_an_address_or_an_id_is_stored_nowhere(
    gateway: Gateway, keys: Keys, ended: Callable[[], Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="cyllm")
    reply = await call(gateway, "GET", f"/v1/{keys.acme}", headers={"x-request-id": keys.acme})
    assert reply.status == 404
    record = await ended()
    assert (record.endpoint, record.correlation_id) == ("unknown", record.request_id)
    assert keys.acme not in repr(record) + caplog.text + str(reply.headers)


async def test_what_an_unexpected_error_says_is_not_logged(
    gateway: Gateway, keys: Keys, client: ScriptedClient, caplog: pytest.LogCaptureFixture
) -> None:
    client.broken = ValueError("the prompt was: canary-7")
    reply = await chat(gateway, keys.acme)
    assert (reply.status, reply.error["code"]) == (500, "internal_error")
    (found,) = [entry for entry in caplog.records if entry.getMessage() == "request failed"]
    line = TextFormatter().format(found)
    assert "builtins.ValueError" in line
    assert "scripted.py" in line
    assert "canary-7" not in line + reply.body.decode()
