"""Responses: whole, streamed, stored, continued, and everybody's own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
import redis

from api.gateway.app import Gateway
from api.gateway.stages.limits import Limits
from inference_worker.protocol.faults import InvalidParameter
from inference_worker.protocol.messages import Delta, FailureKind, Meter, Operation, Outcome
from tests.gateway.conftest import Keys
from tests.gateway.driver import call
from tests.gateway.response_driver import (
    PATH,
    WORDS,
    begin,
    chunk,
    events_of,
    respond,
    retrieve,
    script,
    text_of,
)
from tests.gateway.scripted import HANG, METER, ScriptedClient, accepted, failed, finished, lost
from tests.gateway.threads import in_thread

TEXT = "".join(WORDS)


@pytest.fixture
def limits() -> Limits:
    """Times that a busy machine does not reach."""
    return Limits(gateway_max_requests=8, stream_comment_s=0.2, total_timeout_s=60.0, detached_grace_s=0.2)


@pytest.mark.honours("responses", "instructions", "max_output_tokens", "model", "input")
async def test_a_whole_response_comes_from_a_streamed_chat_and_is_recorded_once(
    gateway: Gateway, keys: Keys, client: ScriptedClient, ended: Callable[[], Any]
) -> None:
    client.scripts = [script()]
    reply = await respond(gateway, keys.acme, instructions="be brief", max_output_tokens=9)
    response = reply.document
    assert (reply.status, reply.headers["content-type"]) == (200, "application/json")
    assert (response["status"], response["model"], text_of(response)) == ("completed", "tiny", TEXT)
    assert (response["usage"]["input_tokens"], response["usage"]["output_tokens"]) == (7, 4)
    sent = json.loads(client.calls[0].body)
    assert client.calls[0].operation == Operation.CHAT_COMPLETIONS
    assert sent["messages"] == [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "hello"},
    ]
    assert (sent["stream"], sent["max_completion_tokens"]) == (True, 9)
    record = await ended()
    assert (record.endpoint, record.outcome, record.status) == (PATH, Outcome.COMPLETED, 200)
    assert (record.relayed, record.model, record.streamed) == (METER, "tiny", False)


@pytest.mark.honours("responses", "stream")
async def test_a_streamed_response_tells_the_same_in_events_without_a_done(
    gateway: Gateway, keys: Keys, client: ScriptedClient, ended: Callable[[], Any]
) -> None:
    client.scripts = [script()]
    reply = await respond(gateway, keys.acme, stream=True)
    events = events_of(reply.body)
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert [event["type"] for event in events[:2]] == ["response.created", "response.in_progress"]
    assert events[-1]["type"] == "response.completed"
    deltas = [event["delta"] for event in events if event["type"] == "response.output_text.delta"]
    assert "".join(deltas) == text_of(events[-1]["response"]) == TEXT
    assert b"[DONE]" not in reply.body
    assert b"\nid:" not in reply.body
    record = await ended()
    assert (record.outcome, record.streamed, record.relayed) == (Outcome.COMPLETED, True, METER)


@pytest.mark.honours("responses", "store", "metadata")
async def test_a_stored_response_is_found_as_it_was_answered_until_it_is_deleted(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    client.scripts = [script(), script()]
    made = (await respond(gateway, keys.acme, metadata={"a": "b"})).document
    found = await retrieve(gateway, keys.acme, made["id"])
    assert (found.status, found.document) == (200, made)
    streamed = events_of((await respond(gateway, keys.acme, stream=True)).body)[-1]["response"]
    assert (await retrieve(gateway, keys.acme, streamed["id"])).document == streamed
    deleted = await call(gateway, "DELETE", f"{PATH}/{made['id']}", key=keys.acme)
    assert deleted.document == {"id": made["id"], "object": "response", "deleted": True}
    gone = await retrieve(gateway, keys.acme, made["id"])
    assert (gone.status, gone.error["code"]) == (404, "response_not_found")


@pytest.mark.honours("responses", "store")
async def test_what_is_not_to_be_stored_is_nowhere(
    gateway: Gateway, keys: Keys, client: ScriptedClient, redis_client: redis.Redis
) -> None:
    from api.stored_responses.models import StoredResponse

    client.scripts = [script()]
    made = (await respond(gateway, keys.acme, store=False)).document
    assert (await retrieve(gateway, keys.acme, made["id"])).status == 404
    assert await in_thread(StoredResponse.objects.count) == 0
    assert redis_client.keys("cyllm:stream*") == []
    previous = await respond(gateway, keys.acme, previous_response_id=made["id"])
    assert (previous.status, previous.error["code"]) == (400, "previous_response_not_found")
    assert previous.error["param"] == "previous_response_id"
    refused = await respond(gateway, keys.acme, store=False, background=True)
    assert (refused.status, refused.error["param"]) == (400, "background")


@pytest.mark.honours("responses", "previous_response_id")
async def test_a_conversation_goes_on_from_a_response_with_all_that_came_before(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    client.scripts = [script(words=("first",)), script(words=("second",)), script(words=("third",))]
    one = (await respond(gateway, keys.acme, instructions="only once")).document
    two = (await respond(gateway, keys.acme, input="and", previous_response_id=one["id"])).document
    three = await respond(gateway, keys.acme, input="then", previous_response_id=two["id"])
    assert three.document["previous_response_id"] == two["id"]
    said = [(message["role"], message["content"]) for message in json.loads(client.calls[2].body)["messages"]]
    assert said == [
        ("user", "hello"),
        ("assistant", "first"),
        ("user", "and"),
        ("assistant", "second"),
        ("user", "then"),
    ]
    assert client.calls[2].cost_tokens > client.calls[0].cost_tokens - 1


async def test_a_conversation_with_a_hole_is_refused_and_never_cut(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    client.scripts = [script(), script()]
    one = (await respond(gateway, keys.acme)).document
    two = (await respond(gateway, keys.acme, previous_response_id=one["id"])).document
    await call(gateway, "DELETE", f"{PATH}/{one['id']}", key=keys.acme)
    reply = await respond(gateway, keys.acme, previous_response_id=two["id"])
    assert (reply.status, reply.error["code"]) == (400, "previous_response_not_found")
    assert one["id"] in reply.error["message"]
    assert len(client.calls) == 2


async def test_a_conversation_is_bounded_in_turns_and_bytes(
    gateway: Gateway, keys: Keys, client: ScriptedClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.scripts = [script(), script(), script()]
    one = (await respond(gateway, keys.acme)).document
    two = (await respond(gateway, keys.acme, previous_response_id=one["id"])).document
    monkeypatch.setattr("api.gateway.state.stored_responses.MOST_TURNS", 1)
    reply = await respond(gateway, keys.acme, previous_response_id=two["id"])
    assert (reply.status, reply.error["param"]) == (400, "previous_response_id")
    assert "more than 1 responses" in reply.error["message"]
    assert (await respond(gateway, keys.acme, previous_response_id=one["id"])).status == 200


@pytest.mark.case("serving.13")
async def test_another_tenants_response_cannot_be_continued(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    client.scripts = [script()]
    made = (await respond(gateway, keys.acme)).document
    unknown_id = "resp_" + "0" * 48
    theirs = await respond(gateway, keys.globex, previous_response_id=made["id"])
    unknown = await respond(gateway, keys.globex, previous_response_id=unknown_id)
    assert (theirs.status, theirs.error["code"]) == (400, "previous_response_not_found")
    assert theirs.body == unknown.body.replace(unknown_id.encode(), made["id"].encode())
    assert len(client.calls) == 1


@pytest.mark.case("serving.14")
async def test_input_items_come_in_pages_and_an_empty_one_has_no_cursors(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    client.scripts = [script(), script()]
    messages = [{"role": "user", "content": f"m{number}"} for number in range(5)]
    made = (await respond(gateway, keys.acme, input=messages)).document
    path = f"{PATH}/{made['id']}/input_items"

    async def page(query: str = "") -> Any:
        reply = await call(gateway, "GET", path + query, key=keys.acme)
        assert reply.status == 200, reply.body
        return reply.document

    def texts(found: Any) -> list[str]:
        return [item["content"][0]["text"] for item in found["data"]]

    everything = await page()
    assert (texts(everything), everything["has_more"]) == (["m4", "m3", "m2", "m1", "m0"], False)
    first = await page("?order=asc&limit=2")
    assert (texts(first), first["has_more"]) == (["m0", "m1"], True)
    assert (first["first_id"], first["last_id"]) == (first["data"][0]["id"], first["data"][1]["id"])
    rest = await page(f"?order=asc&limit=3&after={first['last_id']}")
    assert (texts(rest), rest["has_more"]) == (["m2", "m3", "m4"], False)
    empty = await page(f"?order=asc&after={rest['last_id']}")
    assert empty == {"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False}
    for query, code, param in (
        ("?limit=0", "integer_below_min_value", "limit"),
        ("?limit=101", "integer_above_max_value", "limit"),
        ("?order=up", "invalid_value", "order"),
        ("?after=msg_none", "invalid_value", "after"),
        ("?before=x", "unknown_parameter", "before"),
    ):
        wrong = await call(gateway, "GET", path + query, key=keys.acme)
        assert (wrong.status, wrong.error["code"], wrong.error["param"]) == (400, code, param)


@pytest.mark.case("serving.19")
@pytest.mark.parametrize("stream", [True, False])
async def test_who_leaves_a_response_cancels_it(
    gateway: Gateway, keys: Keys, client: ScriptedClient, ended: Callable[[], Any], stream: bool
) -> None:
    from api.stored_responses.models import StoredResponse

    client.scripts = [[accepted(), chunk({"content": "a"}), HANG]]
    begun = begin(gateway, keys.acme, stream=stream)
    async with asyncio.timeout(5):
        while not client.streams or client.streams[0].taken < 2:
            await asyncio.sleep(0.01)
    begun.leave()
    await begun.task
    assert client.streams[0].closed == 1
    record = await ended()
    assert (record.outcome, record.error_code) == (Outcome.CANCELLED, "client_disconnected")
    assert record.relayed == Meter(completion_tokens=1)
    assert await in_thread(StoredResponse.objects.count) == 0


async def test_an_error_before_the_answer_has_its_status_and_one_in_it_is_an_event(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    fault = InvalidParameter(param="top_p", reason="no")
    client.scripts = [
        [failed(FailureKind.REQUEST, 400, fault=fault)],
        [accepted(), chunk({"content": "a"}), lost()],
    ]
    early = await respond(gateway, keys.acme, stream=True)
    assert (early.status, early.error["param"]) == (400, "top_p")
    late = events_of((await respond(gateway, keys.acme, stream=True)).body)
    assert [event["sequence_number"] for event in late] == list(range(len(late)))
    assert late[-1]["type"] == "response.failed"
    assert late[-1]["response"]["error"]["code"] == "server_error"
    assert text_of(late[-1]["response"]) == "a"
    client.scripts = [[accepted(), chunk({"content": "a"}), lost()]]
    whole = await respond(gateway, keys.acme)
    assert (whole.status, whole.error["code"]) == (503, "worker_lost")


@pytest.mark.parametrize(
    ("theirs", "ours"), [("max_completion_tokens", "max_output_tokens"), ("messages", "input")]
)
async def test_what_an_engine_refuses_is_named_as_the_client_has_written_it(
    gateway: Gateway, keys: Keys, client: ScriptedClient, theirs: str, ours: str
) -> None:
    fault = InvalidParameter(param=theirs, reason="not so")
    client.scripts = [[failed(FailureKind.REQUEST, 400, fault=fault)] for _ in range(2)]
    continuing = {"stream": True, "stream_options": {"on_disconnect": "continue"}}
    for way in ({}, continuing):
        reply = await respond(gateway, keys.acme, max_output_tokens=9, **way)
        assert (reply.status, reply.error["param"]) == (400, ours)


async def test_a_response_of_which_nothing_was_sent_is_made_anew_by_another_worker(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    client.scripts = [[accepted(), chunk({"content": "lost "}), lost()], script()]
    reply = await respond(gateway, keys.acme)
    assert (reply.status, text_of(reply.document)) == (200, TEXT)
    assert client.excluded == [(), ("worker-1",)]


@pytest.mark.parametrize("data", [b"data: {oops\n\n", b"data: 5\n\n", b"data: [1]\n\n"])
async def test_an_engine_that_writes_no_chunks_has_failed(
    gateway: Gateway, keys: Keys, client: ScriptedClient, data: bytes
) -> None:
    odd = Delta(request_id="", attempt=1, index=0, data=data)
    client.scripts = [[accepted(), odd, finished()]]
    reply = await respond(gateway, keys.acme)
    assert (reply.status, reply.error["code"]) == (500, "engine_error")


@pytest.mark.parametrize(
    ("query", "code", "param"),
    [
        ("?starting_after=1", "invalid_value", "starting_after"),
        ("?stream=yes", "invalid_value", "stream"),
        ("?stream=true", "invalid_value", "stream"),
        ("?include_obfuscation=true", "unsupported_value", "include_obfuscation"),
        ("?include=x", "unknown_parameter", "include"),
    ],
)
async def test_wrong_parameters_of_an_address_are_named(
    gateway: Gateway, keys: Keys, client: ScriptedClient, query: str, code: str, param: str
) -> None:
    client.scripts = [script()]
    made = (await respond(gateway, keys.acme)).document
    reply = await retrieve(gateway, keys.acme, made["id"], query)
    assert (reply.status, reply.error["code"], reply.error["param"]) == (400, code, param)


async def test_a_response_of_characters_that_the_database_cannot_hold_is_stored_all_the_same(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    client.scripts = [script(words=("a\x00b", "\ud83d"))]
    made = (await respond(gateway, keys.acme, input="nul \x00 inside")).document
    found = (await retrieve(gateway, keys.acme, made["id"])).document
    assert found == made
    assert text_of(found).startswith("a\x00b")


@pytest.mark.parametrize(
    "response_id", ["a\x00b", "resp_\x00", "resp_" + "0" * 200, "resp_é", "'; --", "resp_"]
)
async def test_an_id_that_can_be_none_is_not_found_wherever_it_is_sent(
    gateway: Gateway, keys: Keys, response_id: str
) -> None:
    for method, path in (
        ("GET", "/{}"),
        ("GET", "/{}?stream=true"),
        ("DELETE", "/{}"),
        ("POST", "/{}/cancel"),
        ("GET", "/{}/input_items"),
    ):
        reply = await call(gateway, method, PATH + path.format(response_id), key=keys.acme)
        assert (reply.status, reply.error["code"]) == (404, "response_not_found"), (method, path)
    stream = await call(gateway, "GET", f"/v1/streams/{response_id}", key=keys.acme)
    assert (stream.status, stream.error["code"]) == (404, "stream_not_found")
    if len(response_id) <= 128:
        previous = await respond(gateway, keys.acme, previous_response_id=response_id)
        assert (previous.status, previous.error["code"]) == (400, "previous_response_not_found")


async def test_one_in_front_cannot_be_cancelled(gateway: Gateway, keys: Keys, client: ScriptedClient) -> None:
    client.scripts = [script()]
    made = (await respond(gateway, keys.acme)).document
    reply = await call(gateway, "POST", f"{PATH}/{made['id']}/cancel", key=keys.acme)
    assert (reply.status, reply.error["code"]) == (400, "response_not_cancellable")
