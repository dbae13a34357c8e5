"""A streamed chat answer is the plain one at every split of its deltas and of its bytes."""

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

from api.gateway.http.answer import DONE
from api.openai.responses.transcript import Transcript
from inference_worker.runtime.calls.engine import Message
from inference_worker.runtime.engines.remote_engine import RemoteEngine
from inference_worker.runtime.settings import WorkerSettings
from tests.openai.answering import Service
from tests.openai.splits import Answer, Call, Delta, answers, cut_at, deltas

SETTINGS = WorkerSettings(CYLLM_REDIS_URL="redis://unused", model="m", engine="remote", engine_url="http://e")
TEXT = '{"a":"é😀"}'
SHORT = Answer("", TEXT, (Call("call_1", "f", TEXT),), "tool_calls")


class Pieces(httpx.AsyncByteStream):
    """A body in given pieces."""

    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = pieces

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            yield piece


async def relayed(pieces: list[bytes]) -> bytes:
    """What a worker makes of an engine's stream that comes in these pieces."""
    sent: list[Message] = []
    asked = iter(
        [{"type": "http.request", "body": b'{"stream": true, "stream_options": {"include_usage": true}}'}]
    )

    async def receive() -> Message:
        for message in asked:
            return message
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: Message) -> None:
        sent.append(message)

    transport = httpx.MockTransport(lambda _: httpx.Response(200, stream=Pieces(pieces)))
    async with httpx.AsyncClient(transport=transport, base_url="http://e", trust_env=False) as client:
        await RemoteEngine(client, SETTINGS).app({"path": "/v1/chat/completions"}, receive, send)
    return b"".join(message.get("body", b"") for message in sent)


def stream_of(answer: Answer, given: list[Delta]) -> bytes:
    """The engine's bytes."""
    events = (f"data: {json.dumps(chunk, ensure_ascii=False)}\n\n" for chunk in answer.chunks(given))
    return "".join(events).encode() + DONE


def final(service: Service, body: bytes) -> ChatCompletion:
    """What the SDK puts together from a stream of chunks."""
    service.body = body
    with service.client.chat.completions.stream(
        model="m", messages=[{"role": "user", "content": "hi"}]
    ) as stream:
        for _ in stream:
            pass
        # Not the final completion: the SDK gives none if the answer was stopped short.
        return stream.current_completion_snapshot


def check_same(answer: Answer, completion: ChatCompletion) -> None:
    """The choice and the usage are those of the plain answer."""
    choice, plain = completion.choices[0], answer.message()
    assert choice.finish_reason == answer.finish_reason
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
    told = choice.logprobs.content if choice.logprobs else None
    assert [entry.token for entry in told or ()] == list(answer.content)
    assert completion.usage is not None
    assert completion.usage.total_tokens == 12


@pytest.mark.criterion("1.3")
@pytest.mark.case("serving.31")
@given(st.data())
@settings(max_examples=100, deadline=None)
def test_the_sdk_puts_the_plain_answer_together_from_any_split(service: Service, data: st.DataObject) -> None:
    answer = data.draw(answers)
    body = stream_of(answer, data.draw(deltas(answer, tidy=True)))
    borders = sorted(data.draw(st.lists(st.integers(0, len(body)), max_size=12)))
    places = [0, *borders, len(body)]
    pieces = [body[start:end] for start, end in pairwise(places)]
    check_same(answer, final(service, asyncio.run(relayed(pieces))))


@pytest.mark.case("serving.31")
def test_text_and_arguments_are_the_same_at_each_of_all_their_splits(service: Service) -> None:
    begun = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "f", "arguments": ""}}
    for mask in range(2 ** (len(TEXT) - 1)):
        pieces = cut_at(TEXT, [place + 1 for place in range(len(TEXT) - 1) if mask >> place & 1])
        given: list[Delta] = [{"content": piece} for piece in pieces]
        given.append({"tool_calls": [begun]})
        given += [{"tool_calls": [{"index": 0, "function": {"arguments": piece}}]} for piece in pieces]
        check_same(SHORT, final(service, stream_of(SHORT, given)))


@pytest.mark.criterion("1.3")
def test_a_stream_is_the_same_cut_at_each_of_its_bytes(service: Service) -> None:
    body = stream_of(SHORT, [SHORT.delta()])
    whole = asyncio.run(relayed([body]))
    check_same(SHORT, final(service, whole))

    async def each_cut() -> None:
        for place in range(len(body)):
            assert await relayed([body[:place], body[place:]]) == whole

    asyncio.run(each_cut())


@pytest.mark.case("serving.31")
@given(st.data())
@settings(max_examples=50, deadline=None)
def test_a_call_that_was_cut_says_so_at_every_split(service: Service, data: st.DataObject) -> None:
    cut = data.draw(st.integers(1, len(TEXT) - 1))
    answer = replace(SHORT, calls=(Call("call_1", "f", TEXT[:cut]),), finish_reason="length")
    check_same(answer, final(service, stream_of(answer, data.draw(deltas(answer, tidy=True)))))


@given(st.data())
@settings(max_examples=50, deadline=None)
def test_chat_and_responses_read_the_same_out_of_a_stream(service: Service, data: st.DataObject) -> None:
    answer = data.draw(answers)
    given = data.draw(deltas(answer, tidy=True))
    transcript = Transcript()
    for delta in given:
        transcript.add(delta, ())
    transcript.close(cut=True)
    message = final(service, stream_of(answer, given)).choices[0].message
    items = [item.item() for item in transcript.items]
    assert [item["arguments"] for item in items if item["type"] == "function_call"] == [
        call.function.arguments for call in message.tool_calls or () if call.type == "function"
    ]
    said = [item["content"][0]["text"] for item in items if item["type"] == "message"]
    assert "".join(said) == (message.content or "")
