"""A streamed chat response equals the plain one at every split of its deltas and bytes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from itertools import pairwise

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion

from api.openai.responses.events.transcript import Transcript
from inference_worker.protocol import sse
from inference_worker.runtime.calls.engine import Message
from inference_worker.runtime.engines.remote_engine import RemoteEngine
from inference_worker.runtime.settings import WorkerSettings
from tests.openai.scripted_service import ScriptedService
from tests.openai.splits import Call, ChatResponse, Delta, chat_responses, cut_at, deltas

SETTINGS = WorkerSettings(CYLLM_REDIS_URL="redis://unused", model="m", engine="remote", engine_url="http://e")
TEXT = '{"a":"é😀"}'
SHORT = ChatResponse("", TEXT, (Call("call_1", "f", TEXT),), "tool_calls")


class Pieces(httpx.AsyncByteStream):
    """A response body in pieces."""

    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = pieces

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            yield piece


async def relayed(pieces: list[bytes]) -> bytes:
    """Return the bytes that a worker relays for a stream of these pieces."""
    messages: list[Message] = []
    requests = iter(
        [{"type": "http.request", "body": b'{"stream": true, "stream_options": {"include_usage": true}}'}]
    )

    async def receive() -> Message:
        for message in requests:
            return message
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: Message) -> None:
        messages.append(message)

    transport = httpx.MockTransport(lambda _: httpx.Response(200, stream=Pieces(pieces)))
    async with httpx.AsyncClient(transport=transport, base_url="http://e", trust_env=False) as client:
        await RemoteEngine(client, SETTINGS).app({"path": "/v1/chat/completions"}, receive, send)
    return b"".join(message.get("body", b"") for message in messages)


def stream_of(chat: ChatResponse, split: list[Delta]) -> bytes:
    """Return the engine's bytes."""
    payloads = (json.dumps(chunk, ensure_ascii=False).encode() for chunk in chat.chunks(split))
    return sse.join_events([*map(sse.data_event, payloads), sse.DONE])


def final(service: ScriptedService, body: bytes) -> ChatCompletion:
    """Return the completion that the SDK assembles from a stream of chunks."""
    service.body = body
    with service.client.chat.completions.stream(
        model="m", messages=[{"role": "user", "content": "hi"}]
    ) as stream:
        for _ in stream:
            pass
        # Not the final completion: the SDK has none if the response is incomplete.
        return stream.current_completion_snapshot


def assert_same(chat: ChatResponse, completion: ChatCompletion) -> None:
    """Assert that choice and usage are those of the plain response."""
    choice, plain = completion.choices[0], chat.message()
    assert choice.finish_reason == chat.finish_reason
    assert (choice.message.content or None) == plain["content"]
    assert (choice.message.to_dict().get("reasoning") or None) == plain.get("reasoning")
    calls = [
        {
            "id": call.id,
            "type": call.type,
            "function": {"name": call.function.name, "arguments": call.function.arguments},
        }
        for call in choice.message.tool_calls or ()
        if call.type == "function"
    ]
    assert calls == plain.get("tool_calls", [])
    entries = choice.logprobs.content if choice.logprobs else None
    assert [entry.token for entry in entries or ()] == list(chat.content)
    assert completion.usage is not None
    assert completion.usage.total_tokens == 12


@pytest.mark.criterion("1.3")
@pytest.mark.case("serving.31")
@given(st.data())
@settings(max_examples=100, deadline=None)
def test_the_sdk_assembles_the_plain_response_from_any_split(
    service: ScriptedService, data: st.DataObject
) -> None:
    chat = data.draw(chat_responses)
    body = stream_of(chat, data.draw(deltas(chat, tidy=True)))
    borders = sorted(data.draw(st.lists(st.integers(0, len(body)), max_size=12)))
    offsets = [0, *borders, len(body)]
    pieces = [body[start:end] for start, end in pairwise(offsets)]
    assert_same(chat, final(service, asyncio.run(relayed(pieces))))


@pytest.mark.case("serving.31")
def test_text_and_arguments_survive_every_split(service: ScriptedService) -> None:
    call_start = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "f", "arguments": ""}}
    for mask in range(2 ** (len(TEXT) - 1)):
        pieces = cut_at(TEXT, [offset + 1 for offset in range(len(TEXT) - 1) if mask >> offset & 1])
        split: list[Delta] = [{"content": piece} for piece in pieces]
        split.append({"tool_calls": [call_start]})
        split += [{"tool_calls": [{"index": 0, "function": {"arguments": piece}}]} for piece in pieces]
        assert_same(SHORT, final(service, stream_of(SHORT, split)))


@pytest.mark.criterion("1.3")
def test_a_stream_survives_a_cut_at_any_byte(service: ScriptedService) -> None:
    body = stream_of(SHORT, [SHORT.delta()])
    whole = asyncio.run(relayed([body]))
    assert_same(SHORT, final(service, whole))

    async def each_cut() -> None:
        for offset in range(len(body)):
            assert await relayed([body[:offset], body[offset:]]) == whole

    asyncio.run(each_cut())


@pytest.mark.case("serving.31")
@given(st.data())
@settings(max_examples=50, deadline=None)
def test_a_truncated_call_is_reported_as_truncated_at_every_split(
    service: ScriptedService, data: st.DataObject
) -> None:
    cut = data.draw(st.integers(1, len(TEXT) - 1))
    chat = replace(SHORT, calls=(Call("call_1", "f", TEXT[:cut]),), finish_reason="length")
    assert_same(chat, final(service, stream_of(chat, data.draw(deltas(chat, tidy=True)))))


@given(st.data())
@settings(max_examples=50, deadline=None)
def test_chat_and_responses_agree_on_the_content_of_a_stream(
    service: ScriptedService, data: st.DataObject
) -> None:
    chat = data.draw(chat_responses)
    split = data.draw(deltas(chat, tidy=True))
    transcript = Transcript()
    for delta in split:
        transcript.add(delta, ())
    transcript.close(is_truncated=True)
    message = final(service, stream_of(chat, split)).choices[0].message
    items = [item.item() for item in transcript.items]
    assert [item["arguments"] for item in items if item["type"] == "function_call"] == [
        call.function.arguments for call in message.tool_calls or () if call.type == "function"
    ]
    texts = [item["content"][0]["text"] for item in items if item["type"] == "message"]
    assert "".join(texts) == (message.content or "")
