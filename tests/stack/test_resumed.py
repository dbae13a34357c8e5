"""Resumable streams and background responses, on a real engine and after the death of a gateway."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest

from tests.stack.conftest import OwnedStack, StartWorker
from tests.stack.records import audit_row, settled_usage
from tests.stack.sse import chat
from tests.stacks import wait_until

TOKENS = 20
CONTINUE = {"on_disconnect": "continue", "include_usage": True}
Event = tuple[int, str]


def read(response: httpx.Response, until: int | None = None) -> Iterator[Event]:
    """Yield number and data of each event of a stream, optionally only up to one of them."""
    number = -1
    for line in response.iter_lines():
        if line.startswith("id: "):
            number = int(line.removeprefix("id: "))
        elif line.startswith("data: "):
            yield number, line.removeprefix("data: ")
            if number == until:
                return


def begin(
    client: httpx.Client, body: dict[str, Any], path: str = "/v1/chat/completions", until: int | None = None
) -> tuple[str, str, list[Event]]:
    """Read a stream up to an event and disconnect. Returns stream id, request id and events."""
    with client.stream("POST", path, json=body) as response:
        assert response.status_code == 200
        events = list(read(response, until))
        return response.headers["x-stream-id"], response.headers["x-request-id"], events


def resume(client: httpx.Client, path: str) -> list[Event]:
    """Resume a stream and return the remaining events."""
    with client.stream("GET", path) as response:
        assert response.status_code == 200, response.read()
        return list(read(response))


def text_of(events: list[Event]) -> str:
    """Return the text of a chat stream."""
    chunks = [json.loads(data) for _, data in events if data != "[DONE]"]
    choices = [choice for chunk in chunks for choice in chunk.get("choices", ())]
    return "".join(choice["delta"].get("content") or "" for choice in choices)


def test_a_stream_resumed_after_any_event_is_the_uninterrupted_one(ready_stack: OwnedStack) -> None:
    body = chat("tiny", "tell me", max_tokens=TOKENS, stream_options=CONTINUE)
    with ready_stack.client() as client:
        _, _, uncut = begin(client, body)
        text = text_of(uncut)
        assert len(text) > TOKENS
        assert len(uncut) > TOKENS / 2
        for cut in range(len(uncut)):
            stream_id, request_id, before = begin(client, body, until=cut)
            after = resume(client, f"/v1/streams/{stream_id}?starting_after={before[-1][0]}")
            events = before + after
            assert [number for number, _ in events] == list(range(len(events))), f"cut at {cut}"
            assert text_of(events) == text, f"cut at {cut}"
            assert events[-1][1] == "[DONE]"
            assert resume(client, f"/v1/streams/{stream_id}") == events
            chunk = json.loads(events[0][1])
            assert chunk["id"] == stream_id, "the id in the chunks is that of the stream"
    usage = settled_usage(ready_stack, request_id)
    assert (usage["outcome"], usage["completion_tokens"]) == ("completed", TOKENS)


def test_a_stream_of_a_killed_gateway_can_be_read_and_ends_with_an_error_event(
    start_worker: StartWorker, ready_stack: OwnedStack, faulty_model: str
) -> None:
    start_worker("detached")
    body = chat(faulty_model, "pieces=1000 gap=0.03", stream_options=CONTINUE)
    response_body = {"model": faulty_model, "input": "pieces=1000 gap=0.03", "background": True}
    with ready_stack.client() as client:
        stream_id, request_id, before = begin(client, body, until=10)
        response_id = client.post("/v1/responses", json=response_body).json()["id"]
        path = f"/v1/responses/{response_id}"
        wait_until(
            lambda: client.get(path).json()["status"] == "in_progress", 10, "the response is in progress"
        )
    os.kill(ready_stack.pid("gateway"), signal.SIGKILL)
    with contextlib.suppress(AssertionError):
        wait_until(lambda: not ready_stack.ready(), 3, "the gateway is down")
    wait_until(ready_stack.ready, 60, "the gateway is back")
    with ready_stack.client() as client:
        after = resume(client, f"/v1/streams/{stream_id}?starting_after={before[-1][0]}")
        events = before + after
        assert [number for number, _ in events] == list(range(len(events)))
        words = "".join(f"w{number} " for number in range(1000))
        assert words.startswith(text_of(events))
        assert json.loads(events[-2][1])["error"]["code"] == "stream_lost"
        assert events[-1][1] == "[DONE]"
        assert resume(client, f"/v1/streams/{stream_id}?starting_after={len(events) - 3}") == events[-2:]
        wait_until(lambda: client.get(path).json()["status"] == "failed", 40, "the response has failed")
        assert client.get(path).json()["error"]["code"] == "server_error"
    usage = settled_usage(ready_stack, request_id, 45)
    assert (usage["outcome"], usage["meter_source"]) == ("lost", "worker")
    assert usage["completion_tokens"] >= 10
    assert audit_row(ready_stack, request_id)["outcome"] == "lost"


def test_a_stopping_gateway_ends_detached_streams_with_an_error_event(
    start_worker: StartWorker, ready_stack: OwnedStack, faulty_model: str
) -> None:
    start_worker("detached")
    with ready_stack.client() as client:
        body = chat(faulty_model, "pieces=1000 gap=0.03", stream_options=CONTINUE)
        stream_id, request_id, before = begin(client, body, until=5)
    old = ready_stack.pid("gateway")
    os.kill(old, signal.SIGTERM)
    wait_until(lambda: ready_stack.pid("gateway") != old, 30, "the gateway is restarted")
    wait_until(ready_stack.ready, 60, "the gateway is back")
    with ready_stack.client() as client:
        after = resume(client, f"/v1/streams/{stream_id}?starting_after={before[-1][0]}")
    assert [number for number, _ in before + after] == list(range(len(before) + len(after)))
    assert json.loads(after[-2][1])["error"]["code"] == "gateway_stopping"
    assert after[-1][1] == "[DONE]"
    usage = settled_usage(ready_stack, request_id)
    assert (usage["outcome"], usage["error_code"]) == ("failed", "gateway_stopping")
    assert usage["completion_tokens"] >= len(before) + len(after) - 4


@pytest.fixture
def sdk(ready_stack: OwnedStack) -> Iterator[openai.OpenAI]:
    """The official SDK."""
    http = openai.DefaultHttpxClient(trust_env=False)
    with openai.OpenAI(
        base_url=f"{ready_stack.base_url}/v1", api_key=ready_stack.key, http_client=http, max_retries=0
    ) as client:
        yield client


def test_the_sdk_stores_continues_lists_and_deletes_responses(sdk: openai.OpenAI) -> None:
    first = sdk.responses.create(model="tiny", input="hello", max_output_tokens=5, temperature=0)
    assert (first.status, first.usage and first.usage.output_tokens) == ("incomplete", 5)
    assert first.incomplete_details is not None
    assert first.incomplete_details.reason == "max_output_tokens"
    assert sdk.responses.retrieve(first.id) == first
    second = sdk.responses.create(
        model="tiny", input="and", previous_response_id=first.id, max_output_tokens=5, temperature=0
    )
    assert first.usage is not None
    assert second.usage is not None
    assert second.usage.input_tokens > first.usage.input_tokens + 5, "the history is in the prompt"
    (item,) = sdk.responses.input_items.list(second.id)
    assert item.type == "message"
    assert item.content[0].type == "input_text"
    sdk.responses.delete(first.id)
    with pytest.raises(openai.NotFoundError) as caught:
        sdk.responses.retrieve(first.id)
    assert caught.value.code == "response_not_found"
    with pytest.raises(openai.BadRequestError) as cut:
        sdk.responses.create(model="tiny", input="x", previous_response_id=second.id)
    assert cut.value.code == "previous_response_not_found"


def test_the_sdk_resumes_one_background_response_and_cancels_another(sdk: openai.OpenAI) -> None:
    stream = sdk.responses.create(
        model="tiny", input="hello", max_output_tokens=TOKENS, temperature=0, background=True, stream=True
    )
    events = []
    with stream:
        for event in stream:
            events.append(event)
            if event.sequence_number == 5:
                break
    first = events[0]
    assert first.type == "response.created"
    for event in sdk.responses.retrieve(first.response.id, stream=True, starting_after=5):
        events.append(event)
    assert [event.sequence_number for event in events] == list(range(len(events)))
    last = events[-1]
    assert last.type == "response.incomplete"
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert "".join(deltas) == last.response.output_text != ""
    assert sdk.responses.retrieve(first.response.id) == last.response
    running = sdk.responses.create(
        model="tiny", input="hello", background=True, max_output_tokens=900, extra_body={"ignore_eos": True}
    )
    cancelled = sdk.responses.cancel(running.id)
    assert (running.status, cancelled.status) == ("queued", "cancelled")
