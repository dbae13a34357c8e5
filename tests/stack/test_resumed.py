"""Resumable streams and stored responses on a real engine."""

from __future__ import annotations

import json
from collections.abc import Iterator

import openai
import pytest

from tests.stack.conftest import OwnedStack
from tests.stack.records import settled_usage
from tests.stack.resumable import CONTINUE, begin, resume, text_of
from tests.stack.sse import chat

TOKENS = 20


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
    with pytest.raises(openai.NotFoundError) as excinfo:
        sdk.responses.retrieve(first.id)
    assert excinfo.value.code == "response_not_found"
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
    cancelled_response = sdk.responses.cancel(running.id)
    assert (running.status, cancelled_response.status) == ("queued", "cancelled")
