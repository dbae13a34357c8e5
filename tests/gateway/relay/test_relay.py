"""The relay of bodies and streams to the client."""

from __future__ import annotations

import json

import pytest

from api.gateway.app import Gateway
from api.gateway.settings import Limits
from inference_worker.protocol.faults import ContextOverflow
from inference_worker.protocol.messages import Delta, FailureKind, Meter, Operation, Outcome
from inference_worker.telemetry.log_formatters import TextFormatter
from tests.gateway.conftest import LONG_LIMITS, Keys
from tests.gateway.harness.calls import CHAT, COMPLETIONS, body_for, chat, post
from tests.gateway.harness.driver import call
from tests.gateway.harness.events import documents_of
from tests.gateway.harness.records import RecordReader
from tests.gateway.harness.scripted import ScriptedClient
from tests.gateway.harness.scripts import (
    METER,
    accepted,
    body_script,
    delta,
    done,
    failed,
    finished,
    lost,
    valid_document,
)

BODY = valid_document(Operation.CHAT_COMPLETIONS)


@pytest.fixture
def limits() -> Limits:
    """No comments even on a busy machine, and a short wait for the first token."""
    return LONG_LIMITS.model_copy(update={"stream_comment_s": 60.0, "first_token_timeout_s": 2.0})


async def test_a_body_is_relayed_unchanged(
    gateway: Gateway, keys: Keys, client: ScriptedClient, settled_record: RecordReader
) -> None:
    client.scripts = [body_script(BODY)]
    reply = await chat(gateway, keys.acme, model="default", user="somebody")
    assert (reply.status, reply.body, reply.headers["content-type"]) == (200, BODY, "application/json")
    assert reply.headers["content-length"] == str(len(BODY))
    body = json.loads(client.calls[0].body)
    assert (body["model"], client.calls[0].operation) == ("tiny", Operation.CHAT_COMPLETIONS)
    assert "user" not in body
    record = await settled_record()
    assert (record.outcome, record.status, record.error_code) == (Outcome.COMPLETED, 200, None)
    assert (record.model, record.attempt, record.worker_id) == ("tiny", 1, "worker-1")
    assert (record.relayed, record.tenant_id) == (METER, keys.acme_id)


async def test_events_that_arrive_together_are_one_chunk_and_the_stream_ends_with_done(
    gateway: Gateway, keys: Keys, client: ScriptedClient, settled_record: RecordReader
) -> None:
    client.scripts = [[accepted(), [delta("a"), delta("b"), delta("c")], delta("d"), finished()]]
    reply = await chat(gateway, keys.acme, stream=True)
    assert reply.headers["content-type"] == "text/event-stream; charset=utf-8"
    *chunks, end = documents_of(reply.body)
    assert [chunk["choices"][0]["delta"]["content"] for chunk in chunks] == ["a", "b", "c", "d"]
    assert end == "[DONE]"
    assert reply.chunks[0].count(b"data:") == 3
    record = await settled_record()
    assert record.streamed
    assert record.outcome == Outcome.COMPLETED
    assert record.first_token_s is not None
    assert 0 < record.first_token_s <= record.duration_s


async def test_the_engines_own_done_is_not_repeated(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    client.scripts = [[accepted(), delta("a"), [done(), finished()]]]
    reply = await chat(gateway, keys.acme, stream=True)
    assert reply.is_complete
    assert documents_of(reply.body).count("[DONE]") == 1


async def test_each_tenant_has_its_own_constant_cache_salt(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    client.scripts = [[finished(BODY)] for _ in range(3)]
    for key in (keys.acme, keys.globex, keys.acme):
        await chat(gateway, key)
    salts = [json.loads(engine_call.body)["cache_salt"] for engine_call in client.calls]
    assert salts[0] == salts[2] != salts[1]
    assert keys.acme_id not in salts[0]


@pytest.mark.case("serving.24")
@pytest.mark.parametrize("unconfirmed_end", [[], [done()]])
async def test_a_worker_lost_after_the_first_token_ends_the_stream_with_an_error_event(
    gateway: Gateway,
    keys: Keys,
    client: ScriptedClient,
    settled_record: RecordReader,
    unconfirmed_end: list[Delta],
) -> None:
    client.scripts = [[accepted(), delta("a"), *unconfirmed_end, lost()], [finished()]]
    reply = await chat(gateway, keys.acme, stream=True)
    first, error, last = documents_of(reply.body)
    assert first["choices"][0]["delta"]["content"] == "a"
    assert error["error"]["code"] == "worker_lost"
    assert set(error["error"]) == {"message", "type", "param", "code"}
    assert (last, reply.status, reply.is_complete, len(client.calls)) == ("[DONE]", 200, True, 1)
    record = await settled_record()
    assert (record.outcome, record.error_code, record.status) == (Outcome.LOST, "worker_lost", 200)


@pytest.mark.case("serving.24")
async def test_text_that_arrives_with_a_failure_is_delivered(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    client.scripts = [[[accepted(), delta("a"), failed(FailureKind.ENGINE, 500)]]]
    reply = await chat(gateway, keys.acme, stream=True)
    first, error, last = documents_of(reply.body)
    assert (first["choices"][0]["delta"]["content"], error["error"]["code"], last) == (
        "a",
        "engine_error",
        "[DONE]",
    )


@pytest.mark.case("serving.25")
async def test_a_stream_that_the_engine_rejects_keeps_its_status(
    gateway: Gateway, keys: Keys, client: ScriptedClient, settled_record: RecordReader
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
    record = await settled_record()
    assert (record.outcome, record.status, record.attempt) == (Outcome.REFUSED, 400, 1)


async def test_a_missing_worker_and_an_unreachable_redis_have_different_codes(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    reply = await chat(gateway, keys.acme)
    assert (reply.status, reply.error["code"]) == (503, "no_worker_available")
    assert reply.headers["retry-after"] == "5"
    client.is_unreachable = True
    reply = await chat(gateway, keys.acme)
    assert (reply.status, reply.error["code"]) == (503, "redis_unavailable")


async def test_completions_are_relayed_like_chats(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    client.scripts = [body_script()]
    reply = await post(gateway, keys.acme, COMPLETIONS, prompt=[[1, 2], [3]], max_tokens=None)
    assert (reply.status, client.calls[0].operation) == (200, Operation.COMPLETIONS)
    assert json.loads(client.calls[0].body)["prompt"] == [[1, 2], [3]]


async def test_a_request_id_is_passed_through_and_a_harmful_one_replaced(
    gateway: Gateway, keys: Keys, client: ScriptedClient, settled_record: RecordReader
) -> None:
    client.scripts = [[finished(BODY)]]
    headers = {"x-request-id": "trace-1.a_b"}
    reply = await call(gateway, "POST", CHAT, key=keys.acme, body=body_for(CHAT), headers=headers)
    assert reply.headers["x-request-id"] == client.calls[0].correlation_id == "trace-1.a_b"
    assert (await settled_record()).correlation_id == "trace-1.a_b"
    for harmful in ("a b", "x" * 129, 'a"b', "a\r\nset-cookie: x"):
        reply = await call(gateway, "GET", "/v1/models", headers={"x-request-id": harmful})
        assert reply.headers["x-request-id"].startswith("req_")


async def test_an_empty_stream_is_well_formed(gateway: Gateway, keys: Keys, client: ScriptedClient) -> None:
    client.scripts = [[accepted(), finished()]]
    reply = await chat(gateway, keys.acme, stream=True)
    assert (reply.status, reply.body, reply.is_complete) == (200, b"data: [DONE]\n\n", True)


async def test_the_gateway_counts_relayed_text_of_a_lost_worker(
    gateway: Gateway, keys: Keys, client: ScriptedClient, settled_record: RecordReader
) -> None:
    empty, quotes = delta(""), delta('"content": "x" \\')
    client.scripts = [[accepted(), empty, [delta("a"), quotes], delta("b"), done(), lost()]]
    await chat(gateway, keys.acme, stream=True)
    record = await settled_record()
    assert (record.attempt, record.relayed) == (1, Meter(completion_tokens=3))


async def test_the_workers_context_length_bounds_the_cost_if_the_registry_has_none(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    client.max_model_len = 777
    client.scripts = [[finished(BODY)], [finished(BODY)]]
    await chat(gateway, keys.acme)
    await chat(gateway, keys.acme, max_tokens=5)
    assert client.calls[0].cost_tokens == 777
    assert 5 < client.calls[1].cost_tokens < 100


async def test_a_key_in_a_url_or_request_id_is_neither_recorded_nor_logged(
    gateway: Gateway, keys: Keys, settled_record: RecordReader, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="cyllm")
    reply = await call(gateway, "GET", f"/v1/{keys.acme}", headers={"x-request-id": keys.acme})
    assert reply.status == 404
    record = await settled_record()
    assert (record.endpoint, record.correlation_id) == ("unknown", record.request_id)
    assert keys.acme not in repr(record) + caplog.text + str(reply.headers)


async def test_the_text_of_an_unexpected_exception_is_not_logged(
    gateway: Gateway, keys: Keys, client: ScriptedClient, caplog: pytest.LogCaptureFixture
) -> None:
    client.submit_error = ValueError("the prompt was: canary-7")
    reply = await chat(gateway, keys.acme)
    assert (reply.status, reply.error["code"]) == (500, "internal_error")
    (entry,) = [entry for entry in caplog.records if entry.getMessage() == "request failed"]
    line = TextFormatter().format(entry)
    assert "builtins.ValueError" in line
    assert "scripted.py" in line
    assert "canary-7" not in line + reply.body.decode()
