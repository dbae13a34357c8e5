"""Responses: with and without streaming, stored, retrieved and deleted."""

from __future__ import annotations

import json
from typing import Any

import pytest
import redis

from api.gateway.app import Gateway
from inference_worker.protocol.faults import InvalidParameter
from inference_worker.protocol.messages import FailureKind, Meter, Operation, Outcome, WorkerState
from tests.gateway.conftest import Keys
from tests.gateway.harness.calls import RESPONSES, RESUMABLE, create_response, retrieve, start_response
from tests.gateway.harness.conditions import eventually
from tests.gateway.harness.driver import call
from tests.gateway.harness.events import response_events, response_text
from tests.gateway.harness.records import RecordReader
from tests.gateway.harness.scripted import ScriptedClient
from tests.gateway.harness.scripts import (
    HANG,
    METER,
    TEXT,
    accepted,
    delta,
    failed,
    finished,
    lost,
    raw_delta,
    response_script,
)
from tests.gateway.harness.threads import in_thread


@pytest.mark.honours("responses", "instructions", "max_output_tokens", "model", "input")
async def test_a_response_is_made_from_a_streamed_chat_and_recorded_once(
    gateway: Gateway, keys: Keys, client: ScriptedClient, settled_record: RecordReader
) -> None:
    client.scripts = [response_script()]
    reply = await create_response(gateway, keys.acme, instructions="be brief", max_output_tokens=9)
    response = reply.document
    assert (reply.status, reply.headers["content-type"]) == (200, "application/json")
    assert (response["status"], response["model"], response_text(response)) == ("completed", "tiny", TEXT)
    assert (response["usage"]["input_tokens"], response["usage"]["output_tokens"]) == (7, 4)
    body = json.loads(client.calls[0].body)
    assert client.calls[0].operation == Operation.CHAT_COMPLETIONS
    assert body["messages"] == [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "hello"},
    ]
    assert (body["stream"], body["max_completion_tokens"]) == (True, 9)
    record = await settled_record()
    assert (record.endpoint, record.outcome, record.status) == (RESPONSES, Outcome.COMPLETED, 200)
    assert (record.relayed, record.model, record.streamed) == (METER, "tiny", False)


@pytest.mark.honours("responses", "stream")
async def test_a_streamed_response_has_the_same_text_in_events_and_no_done(
    gateway: Gateway, keys: Keys, client: ScriptedClient, settled_record: RecordReader
) -> None:
    client.scripts = [response_script()]
    reply = await create_response(gateway, keys.acme, stream=True)
    events = response_events(reply.body)
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert [event["type"] for event in events[:2]] == ["response.created", "response.in_progress"]
    assert events[-1]["type"] == "response.completed"
    deltas = [event["delta"] for event in events if event["type"] == "response.output_text.delta"]
    assert "".join(deltas) == response_text(events[-1]["response"]) == TEXT
    assert b"[DONE]" not in reply.body
    assert b"\nid:" not in reply.body
    record = await settled_record()
    assert (record.outcome, record.streamed, record.relayed) == (Outcome.COMPLETED, True, METER)


@pytest.mark.honours("responses", "store", "metadata")
async def test_a_stored_response_can_be_retrieved_unchanged_until_it_is_deleted(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    client.scripts = [response_script(), response_script()]
    response = (await create_response(gateway, keys.acme, metadata={"a": "b"})).document
    retrieval = await retrieve(gateway, keys.acme, response["id"])
    assert (retrieval.status, retrieval.document) == (200, response)
    streamed = response_events((await create_response(gateway, keys.acme, stream=True)).body)[-1]["response"]
    assert (await retrieve(gateway, keys.acme, streamed["id"])).document == streamed
    deletion = await call(gateway, "DELETE", f"{RESPONSES}/{response['id']}", key=keys.acme)
    assert deletion.document == {"id": response["id"], "object": "response", "deleted": True}
    reply = await retrieve(gateway, keys.acme, response["id"])
    assert (reply.status, reply.error["code"]) == (404, "response_not_found")


@pytest.mark.honours("responses", "store")
async def test_a_response_with_store_false_is_stored_nowhere(
    gateway: Gateway, keys: Keys, client: ScriptedClient, redis_client: redis.Redis
) -> None:
    from api.stored_responses.models import StoredResponse

    client.scripts = [response_script()]
    response = (await create_response(gateway, keys.acme, store=False)).document
    assert (await retrieve(gateway, keys.acme, response["id"])).status == 404
    assert await in_thread(StoredResponse.objects.count) == 0
    assert redis_client.keys("cyllm:stream*") == []
    reply = await create_response(gateway, keys.acme, previous_response_id=response["id"])
    assert (reply.status, reply.error["code"]) == (400, "previous_response_not_found")
    assert reply.error["param"] == "previous_response_id"
    reply = await create_response(gateway, keys.acme, store=False, background=True)
    assert (reply.status, reply.error["param"]) == (400, "background")


@pytest.mark.case("serving.19")
@pytest.mark.parametrize("stream", [True, False])
async def test_a_disconnect_cancels_a_response(
    gateway: Gateway, keys: Keys, client: ScriptedClient, settled_record: RecordReader, stream: bool
) -> None:
    from api.stored_responses.models import StoredResponse

    client.scripts = [[accepted(), delta("a"), HANG]]
    connection = start_response(gateway, keys.acme, stream=stream)
    await eventually(lambda: client.received_count >= 2)
    await connection.close()
    assert client.streams[0].close_count == 1
    record = await settled_record()
    assert (record.outcome, record.error_code) == (Outcome.CANCELLED, "client_disconnected")
    assert record.relayed == Meter(completion_tokens=1)
    assert await in_thread(StoredResponse.objects.count) == 0


@pytest.mark.case("clients.18")
@pytest.mark.parametrize("stream_options", [None, RESUMABLE["stream_options"]], ids=["plain", "resumable"])
async def test_a_stream_says_that_it_is_in_progress_before_the_engine_says_anything(
    gateway: Gateway, keys: Keys, client: ScriptedClient, stream_options: dict[str, Any] | None
) -> None:
    client.scripts = [[HANG]]
    connection = start_response(gateway, keys.acme, stream=True, stream_options=stream_options)
    await connection.wait_for(b"response.in_progress")
    assert client.received_count == 0
    (creation, in_progress) = response_events(connection.reply.body)
    assert (creation["type"], in_progress["type"]) == ("response.created", "response.in_progress")
    await connection.close()


@pytest.mark.case("clients.18")
async def test_another_worker_continues_a_stream_that_has_only_begun(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    client.scripts = [[accepted(), lost()], response_script()]
    reply = await create_response(gateway, keys.acme, stream=True)
    events = response_events(reply.body)
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert [event["type"] for event in events].count("response.created") == 1
    assert response_text(events[-1]["response"]) == TEXT
    assert client.exclusions == [(), ("worker-1",)]


@pytest.mark.case("clients.18")
async def test_an_error_before_admission_has_a_status_and_a_later_one_is_an_event(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    client.state = WorkerState.LOADING
    refusal = await create_response(gateway, keys.acme, stream=True)
    assert (refusal.status, refusal.error["code"]) == (503, "no_worker_available")
    client.state = WorkerState.READY
    fault = InvalidParameter(param="top_p", reason="no")
    client.scripts = [[failed(FailureKind.REQUEST, 400, fault=fault)], [accepted(), delta("a"), lost()]]
    early = response_events((await create_response(gateway, keys.acme, stream=True)).body)
    assert [event["type"] for event in early] == [
        *("response.created", "response.in_progress", "response.failed")
    ]
    error = early[-1]["response"]["error"]
    assert (error["code"], error["param"]) == ("invalid_prompt", "top_p")
    late = response_events((await create_response(gateway, keys.acme, stream=True)).body)
    assert [event["sequence_number"] for event in late] == list(range(len(late)))
    assert late[-1]["type"] == "response.failed"
    assert late[-1]["response"]["error"]["code"] == "server_error"
    assert response_text(late[-1]["response"]) == "a"
    client.scripts = [[accepted(), delta("a"), lost()]]
    reply = await create_response(gateway, keys.acme)
    assert (reply.status, reply.error["code"]) == (503, "worker_lost")


@pytest.mark.parametrize(
    ("engine_param", "client_param"), [("max_completion_tokens", "max_output_tokens"), ("messages", "input")]
)
async def test_a_parameter_that_the_engine_rejects_has_the_clients_name_in_the_error(
    gateway: Gateway, keys: Keys, client: ScriptedClient, engine_param: str, client_param: str
) -> None:
    fault = InvalidParameter(param=engine_param, reason="not so")
    client.scripts = [[failed(FailureKind.REQUEST, 400, fault=fault)] for _ in range(3)]
    reply = await create_response(gateway, keys.acme, max_output_tokens=9)
    assert (reply.status, reply.error["param"]) == (400, client_param)
    for options in ({"stream": True}, RESUMABLE):
        reply = await create_response(gateway, keys.acme, max_output_tokens=9, **options)
        failure = response_events(reply.body)[-1]["response"]
        assert (failure["status"], failure["error"]["param"]) == ("failed", client_param)


async def test_another_worker_repeats_a_response_of_which_the_client_received_nothing(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    client.scripts = [[accepted(), delta("lost "), lost()], response_script()]
    reply = await create_response(gateway, keys.acme)
    assert (reply.status, response_text(reply.document)) == (200, TEXT)
    assert client.exclusions == [(), ("worker-1",)]


@pytest.mark.parametrize("data", [b"data: {oops\n\n", b"data: 5\n\n", b"data: [1]\n\n"])
async def test_engine_output_that_is_not_a_chunk_is_an_engine_error(
    gateway: Gateway, keys: Keys, client: ScriptedClient, data: bytes
) -> None:
    client.scripts = [[accepted(), raw_delta(data), finished()]]
    reply = await create_response(gateway, keys.acme)
    assert (reply.status, reply.error["code"]) == (500, "engine_error")


@pytest.mark.parametrize(
    ("query", "code", "param"),
    [
        ("?starting_after=1", "invalid_value", "starting_after"),
        ("?stream=yes", "invalid_value", "stream"),
        ("?stream=true", "invalid_value", "stream"),
        ("?include_obfuscation=maybe", "invalid_value", "include_obfuscation"),
        ("?include=x", "invalid_value", "include"),
        ("?include[]=x", "invalid_value", "include"),
        ("?stream[]=true", "unknown_parameter", "stream[]"),
    ],
)
async def test_invalid_query_parameters_are_rejected_by_name(
    gateway: Gateway, keys: Keys, client: ScriptedClient, query: str, code: str, param: str
) -> None:
    client.scripts = [response_script()]
    response = (await create_response(gateway, keys.acme)).document
    reply = await retrieve(gateway, keys.acme, response["id"], query)
    assert (reply.status, reply.error["code"], reply.error["param"]) == (400, code, param)


async def test_a_response_with_characters_that_postgres_rejects_is_stored_unchanged(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    client.scripts = [response_script(words=("a\x00b", "\ud83d"))]
    response = (await create_response(gateway, keys.acme, input="nul \x00 inside")).document
    retrieval = (await retrieve(gateway, keys.acme, response["id"])).document
    assert retrieval == response
    assert response_text(retrieval).startswith("a\x00b")


@pytest.mark.parametrize(
    "response_id", ["a\x00b", "resp_\x00", "resp_" + "0" * 200, "resp_é", "'; --", "resp_"]
)
async def test_a_malformed_id_is_not_found_on_any_route(
    gateway: Gateway, keys: Keys, response_id: str
) -> None:
    for method, path in (
        ("GET", "/{}"),
        ("GET", "/{}?stream=true"),
        ("DELETE", "/{}"),
        ("POST", "/{}/cancel"),
        ("GET", "/{}/input_items"),
    ):
        reply = await call(gateway, method, RESPONSES + path.format(response_id), key=keys.acme)
        assert (reply.status, reply.error["code"]) == (404, "response_not_found"), (method, path)
    stream = await call(gateway, "GET", f"/v1/streams/{response_id}", key=keys.acme)
    assert (stream.status, stream.error["code"]) == (404, "stream_not_found")
    if len(response_id) <= 128:
        reply = await create_response(gateway, keys.acme, previous_response_id=response_id)
        assert (reply.status, reply.error["code"]) == (400, "previous_response_not_found")


async def test_a_foreground_response_cannot_be_cancelled(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    client.scripts = [response_script()]
    response = (await create_response(gateway, keys.acme)).document
    reply = await call(gateway, "POST", f"{RESPONSES}/{response['id']}/cancel", key=keys.acme)
    assert (reply.status, reply.error["code"]) == (400, "response_not_cancellable")
