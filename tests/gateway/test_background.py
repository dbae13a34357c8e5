"""Responses that outlive their connection: in the background, resumed at every event, cancelled."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import redis

from api.gateway.app import Gateway
from api.gateway.http.exchange import Exchange
from api.gateway.stages.limits import Limits
from api.openai.errors.service import CoordinationUnavailable
from inference_worker.protocol import names
from inference_worker.protocol.faults import OtherFault
from inference_worker.protocol.messages import FailureKind, Meter, Outcome, RequestEnded, RequestStarted
from tests.gateway.conftest import SECRET, Keys, facts_of
from tests.gateway.driver import call, visit
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
from tests.gateway.scripted import HANG, METER, ScriptedClient, accepted, failed, lost
from tests.gateway.test_outages import DatabaseDoor
from tests.gateway.test_outages import door as door  # a fixture
from tests.gateway.threads import in_thread

TEXT = "".join(WORDS)
OPEN = {"queued", "in_progress"}
CONTINUING: dict[str, Any] = {"stream": True, "stream_options": {"on_disconnect": "continue"}}


@pytest.fixture
def limits() -> Limits:
    """Times that a busy machine does not reach."""
    return Limits(
        gateway_max_requests=8,
        stream_comment_s=0.2,
        total_timeout_s=60.0,
        detached_grace_s=0.2,
        stream_log_bytes=50_000,
    )


async def made(gateway: Gateway, key: str, response_id: str) -> dict[str, Any]:
    """The response once it is no longer being made."""
    async with asyncio.timeout(10):
        while True:
            found: dict[str, Any] = (await retrieve(gateway, key, response_id)).document
            if found["status"] not in OPEN:
                return found
            await asyncio.sleep(0.01)


async def record_of(gateway: Gateway, redis_client: redis.Redis) -> RequestEnded:
    """The one record of the one request for a response, once all is settled."""
    async with asyncio.timeout(5):
        while gateway.endpoints.generation.detached.running_count or gateway.recorder.backlog:
            await asyncio.sleep(0.005)
    facts = [fact for fact in facts_of(redis_client) if isinstance(fact, RequestEnded)]
    (record,) = [fact for fact in facts if fact.endpoint == PATH]
    assert gateway.capacity.requests.in_use == 0
    return record


@pytest.mark.honours("responses", "background")
async def test_one_in_the_background_is_answered_at_once_and_found_when_it_is_made(
    gateway: Gateway, keys: Keys, client: ScriptedClient, redis_client: redis.Redis
) -> None:
    client.scripts = [script(gap_s=0.05)]
    reply = await respond(gateway, keys.acme, background=True)
    queued = reply.document
    assert (reply.status, queued["status"], queued["background"], queued["output"]) == (
        200,
        "queued",
        True,
        [],
    )
    assert client.streams == [] or client.streams[0].closed == 0, "it was waited for"
    found = await made(gateway, keys.acme, queued["id"])
    assert (found["status"], text_of(found), found["usage"]["output_tokens"]) == ("completed", TEXT, 4)
    record = await record_of(gateway, redis_client)
    assert (record.outcome, record.status, record.relayed) == (Outcome.COMPLETED, 200, METER)


async def test_the_events_of_one_in_the_background_can_be_read_from_every_number_on(
    gateway: Gateway, keys: Keys, client: ScriptedClient, redis_client: redis.Redis
) -> None:
    client.scripts = [script()]
    uncut = await respond(gateway, keys.acme, background=True, stream=True)
    events = events_of(uncut.body)
    assert [event["type"] for event in events[:3]] == [
        "response.created",
        "response.queued",
        "response.in_progress",
    ]
    response_id = events[0]["response"]["id"]
    assert uncut.headers["x-stream-id"] == response_id
    for cut in range(len(events)):
        rest = await retrieve(gateway, keys.acme, response_id, f"?stream=true&starting_after={cut}")
        assert rest.status == 200
        assert events[: cut + 1] + events_of(rest.body) == events, f"cut at {cut}"
    assert events_of((await retrieve(gateway, keys.acme, response_id, "?stream=true")).body) == events
    assert (await retrieve(gateway, keys.acme, response_id)).document == events[-1]["response"]
    await record_of(gateway, redis_client)


@pytest.mark.honours("responses", "background", "stream_options")
@pytest.mark.parametrize("fields", [{"background": True}, {"stream_options": {"on_disconnect": "continue"}}])
async def test_a_client_that_is_cut_off_at_every_event_misses_nothing(
    gateway: Gateway, keys: Keys, client: ScriptedClient, fields: dict[str, Any]
) -> None:
    client.scripts = [script()]
    count = len(events_of((await respond(gateway, keys.acme, stream=True, **fields)).body))
    for cut in range(count):
        client.scripts = [script(gap_s=0.005)]
        begun = begin(gateway, keys.acme, stream=True, **fields)
        await begun.until(b"id: %d\n" % cut)
        begun.leave()
        await begun.task
        before = [event for event in events_of(begun.reply.body) if event["sequence_number"] <= cut]
        response_id = begun.reply.headers["x-stream-id"]
        rest = await retrieve(gateway, keys.acme, response_id, f"?stream=true&starting_after={cut}")
        joined = before + events_of(rest.body)
        assert [event["sequence_number"] for event in joined] == list(range(count)), f"cut at {cut}"
        assert text_of(joined[-1]["response"]) == TEXT
        assert (await retrieve(gateway, keys.acme, response_id)).document == joined[-1]["response"]


@pytest.mark.parametrize("elsewhere", [False, True])
async def test_a_cancel_from_any_gateway_stops_the_engine_and_can_be_repeated(
    gateway: Gateway,
    keys: Keys,
    client: ScriptedClient,
    redis_client: redis.Redis,
    second: Gateway,
    elsewhere: bool,
) -> None:
    client.scripts = [[accepted(), chunk({"content": "a"}), HANG]]
    begun = begin(gateway, keys.acme, background=True, stream=True)
    await begun.until(b'"delta":"a"')
    response_id = begun.reply.headers["x-stream-id"]
    path = f"{PATH}/{response_id}/cancel"
    asked = second if elsewhere else gateway
    reply = await call(asked, "POST", path, key=keys.acme)
    assert (reply.status, reply.document["status"], text_of(reply.document)) == (200, "cancelled", "a")
    await begun.task
    assert (await call(asked, "POST", path, key=keys.acme)).document == reply.document
    assert client.streams[0].closed == 1
    last = events_of(begun.reply.body)[-1]
    assert (last["type"], last["response"]["status"]) == ("response.incomplete", "cancelled")
    record = await record_of(gateway, redis_client)
    assert (record.outcome, record.error_code) == (Outcome.CANCELLED, "request_cancelled")
    assert record.relayed == Meter(completion_tokens=1)
    continued = await respond(gateway, keys.acme, previous_response_id=response_id)
    assert (continued.status, continued.error["param"]) == (400, "previous_response_id")


async def test_a_response_deleted_while_it_is_made_is_stopped_and_stays_deleted(
    gateway: Gateway, keys: Keys, client: ScriptedClient, redis_client: redis.Redis
) -> None:
    from api.stored_responses.models import StoredResponse

    client.scripts = [[accepted(), chunk({"content": "a"}), HANG]]
    begun = begin(gateway, keys.acme, background=True, stream=True)
    await begun.until(b'"delta":"a"')
    deleted = await call(gateway, "DELETE", f"{PATH}/{begun.reply.headers['x-stream-id']}", key=keys.acme)
    assert deleted.document["deleted"] is True
    await begun.task
    record = await record_of(gateway, redis_client)
    assert (record.outcome, client.streams[0].closed) == (Outcome.CANCELLED, 1)
    assert await in_thread(StoredResponse.objects.count) == 0
    assert redis_client.keys("cyllm:stream:*") == []


@pytest.mark.parametrize(
    ("end", "code", "outcome"),
    [
        (
            failed(FailureKind.REQUEST, 400, fault=OtherFault(reason="no")),
            "invalid_prompt",
            "refused",
        ),
        (lost(), "server_error", "lost"),
    ],
)
async def test_what_fails_in_the_background_is_a_failed_response(
    gateway: Gateway,
    keys: Keys,
    client: ScriptedClient,
    redis_client: redis.Redis,
    end: Any,
    code: str,
    outcome: str,
) -> None:
    client.scripts = [[accepted(), end]]
    queued = (await respond(gateway, keys.acme, background=True)).document
    found = await made(gateway, keys.acme, queued["id"])
    assert (found["status"], found["error"]["code"]) == ("failed", code)
    events = events_of((await retrieve(gateway, keys.acme, queued["id"], "?stream=true")).body)
    assert (events[-1]["type"], events[-1]["response"]) == ("response.failed", found)
    assert (await record_of(gateway, redis_client)).outcome == outcome


async def test_who_has_the_id_of_one_in_the_background_has_a_request_that_is_recorded(
    gateway: Gateway, keys: Keys, client: ScriptedClient, redis_client: redis.Redis
) -> None:
    def started() -> list[RequestStarted]:
        return [fact for fact in facts_of(redis_client) if isinstance(fact, RequestStarted)]

    client.scripts = [script(gap_s=0.05)]
    asked = begin(gateway, keys.acme, background=True)
    while not asked.reply.status:
        await asyncio.sleep(0)
    assert len(started()) == 1
    await asked.task
    await made(gateway, keys.acme, asked.reply.document["id"])
    assert [fact.endpoint for fact in started()] == [PATH], "once"


@pytest.mark.parametrize("stream", [False, True])
async def test_one_that_cannot_be_noted_down_is_refused_and_not_stored(
    gateway: Gateway,
    keys: Keys,
    client: ScriptedClient,
    redis_client: redis.Redis,
    monkeypatch: pytest.MonkeyPatch,
    stream: bool,
) -> None:
    from api.stored_responses.models import StoredResponse

    async def away(exchange: Exchange) -> None:
        raise CoordinationUnavailable()

    monkeypatch.setattr(gateway.recorder, "record_start", away)
    reply = await respond(gateway, keys.acme, background=True, stream=stream)
    assert (reply.status, reply.error["code"]) == (503, "redis_unavailable")
    async with asyncio.timeout(5):
        while gateway.endpoints.generation.detached.running_count:
            await asyncio.sleep(0.01)
    assert client.calls == []
    assert await in_thread(StoredResponse.objects.count) == 0
    assert redis_client.keys(names.stream_key("*")) == []


async def test_one_that_cannot_be_stored_is_not_made(
    gateway: Gateway, keys: Keys, client: ScriptedClient, door: DatabaseDoor, ended: Callable[[], Any]
) -> None:
    client.scripts = [script()]
    warm = await call(gateway, "GET", "/v1/models", key=keys.globex)
    assert warm.status == 200
    asked = begin(gateway, keys.globex, background=True)
    door.shut()
    await asked.task
    door.open()
    reply = asked.reply
    assert (reply.status, reply.error["code"]) == (503, "database_unavailable")
    assert client.calls == []


async def test_an_answer_that_could_not_be_stored_in_the_end_is_an_error(
    gateway: Gateway, keys: Keys, client: ScriptedClient, door: DatabaseDoor
) -> None:
    client.scripts = [script(gap_s=0.1)]
    begun = begin(gateway, keys.acme, stream=True)
    await begun.until(b'"delta":"one "')
    door.shut()
    await begun.task
    door.open()
    events = events_of(begun.reply.body)
    assert (events[-1]["type"], events[-1]["code"]) == ("error", "database_unavailable")
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert "response.completed" not in {event["type"] for event in events}


async def test_an_end_in_the_background_that_could_not_be_stored_is_stored_when_the_database_is_back(
    gateway: Gateway, keys: Keys, client: ScriptedClient, door: DatabaseDoor
) -> None:
    client.scripts = [script(gap_s=0.1)]
    queued = (await respond(gateway, keys.acme, background=True)).document
    reading = visit(gateway, "GET", f"{PATH}/{queued['id']}?stream=true", key=keys.acme)
    await reading.until(b'"delta":"one "')
    door.shut()
    await reading.task
    door.open()
    assert events_of(reading.reply.body)[-1]["code"] == "database_unavailable"
    found = await made(gateway, keys.acme, queued["id"])
    assert (found["status"], found["error"]["code"]) == ("failed", "server_error")
    assert (found["completed_at"], text_of(found)) == (None, TEXT)
    assert gateway.endpoints.responses.store.pending_updates == {}


async def test_a_gateway_that_is_stopped_stores_how_its_responses_ended(
    keys: Keys, gateway: Gateway, limits: Limits, redis_url: str
) -> None:
    from api.gateway.process import gateway_process

    running = ScriptedClient()
    running.scripts = [[accepted(), chunk({"content": "one "}), HANG], script(gap_s=0.05)]
    patient = limits.model_copy(update={"detached_grace_s": 1.5})
    async with gateway_process(redis_url=redis_url, secret=SECRET, limits=patient, client=running) as stopped:
        cut = await respond(stopped, keys.acme, background=True)
        async with asyncio.timeout(5):
            while not running.streams:
                await asyncio.sleep(0.005)
        whole = await respond(stopped, keys.acme, background=True)
    found = [(await retrieve(gateway, keys.acme, made.document["id"])).document for made in (cut, whole)]
    assert [(response["status"], text_of(response)) for response in found] == [
        ("failed", "one "),
        ("completed", TEXT),
    ]


async def test_a_cancel_while_the_answer_is_stored_comes_too_late_for_everybody(
    gateway: Gateway,
    keys: Keys,
    client: ScriptedClient,
    redis_client: redis.Redis,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from api.stored_responses import services

    storing, create = threading.Event(), services.response_create

    def slowly(new: services.NewResponse) -> None:
        storing.set()
        time.sleep(0.3)
        create(new)

    monkeypatch.setattr(services, "response_create", slowly)
    client.scripts = [script()]
    begun = begin(gateway, keys.acme, **CONTINUING)
    await asyncio.to_thread(storing.wait, 5)
    stream_id = begun.reply.headers["x-stream-id"]
    reply = await call(gateway, "POST", f"/v1/streams/{stream_id}/cancel", key=keys.acme)
    assert reply.document["status"] == "completed"
    await begun.task
    last = events_of(begun.reply.body)[-1]
    assert (last["type"], text_of(last["response"])) == ("response.completed", TEXT)
    assert (await retrieve(gateway, keys.acme, stream_id)).document == last["response"]
    record = await record_of(gateway, redis_client)
    assert (record.outcome, record.error_code) == (Outcome.COMPLETED, None)


@pytest.mark.parametrize("way", [{"background": True}, CONTINUING])
async def test_what_a_log_could_not_bound_is_refused_and_nowhere(
    gateway: Gateway, keys: Keys, client: ScriptedClient, redis_client: redis.Redis, way: dict[str, Any]
) -> None:
    from api.stored_responses.models import StoredResponse

    most = gateway.limits.stream_log_bytes
    reply = await respond(gateway, keys.acme, instructions="x" * most, **way)
    assert (reply.status, reply.error["code"]) == (400, "invalid_request")
    assert str(most) in reply.error["message"]
    assert client.calls == []
    assert redis_client.keys("cyllm:stream:*") == []
    assert await in_thread(StoredResponse.objects.count) == 0
