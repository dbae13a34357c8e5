"""Streams of a remote engine: the same events however they are split, with either line end."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_worker.runtime.calls.engine import Message
from inference_worker.runtime.calls.meter import CallMeter, current_meter
from inference_worker.runtime.engines.remote_engine import RemoteEngine
from inference_worker.runtime.settings import WorkerSettings

SETTINGS = WorkerSettings(CYLLM_REDIS_URL="redis://unused", model="m", engine="remote", engine_url="http://e")


def _events(end: str, *, has_done: bool = True, error: bool = False) -> bytes:
    chunks: list[dict[str, Any]] = [
        {"object": "chunk", "model": "up", "choices": [{"index": 0, "delta": {"content": text}}]}
        for text in ("été ", "海", "😀")
    ]
    if error:
        chunks.append({"object": "error", "error": {"message": "broken", "code": 500}})
    chunks.append({"object": "chunk", "choices": [], "usage": {"prompt_tokens": 4, "completion_tokens": 3}})
    text = "".join(f"data: {json.dumps(chunk, ensure_ascii=False)}{end}{end}" for chunk in chunks)
    return (f": a comment{end}{end}" + text + (f"data: [DONE]{end}{end}" if has_done else "")).encode()


class SplitBody(httpx.AsyncByteStream):
    """A body that arrives in these pieces."""

    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = pieces

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            yield piece


def _relay(pieces: list[bytes]) -> tuple[bytes, CallMeter]:
    messages: list[Message] = []
    meter = CallMeter(lambda: None)

    async def run() -> None:
        def respond(_: httpx.Request) -> httpx.Response:
            return httpx.Response(200, stream=SplitBody(pieces))

        async def receive() -> Message:
            if requests:
                return requests.pop()
            await asyncio.Event().wait()
            raise AssertionError

        async def send(message: Message) -> None:
            messages.append(message)

        requests: list[Message] = [{"type": "http.request", "body": b'{"model": "m", "stream": true}'}]
        current_meter.set(meter)
        async with httpx.AsyncClient(transport=httpx.MockTransport(respond), base_url="http://e") as client:
            await RemoteEngine(client, SETTINGS).app({"path": "/v1/chat/completions"}, receive, send)

    asyncio.run(run())
    return b"".join(message.get("body", b"") for message in messages), meter


WHOLE, _ = _relay([_events("\n")])


@given(st.sampled_from(["\n", "\r\n"]), st.lists(st.integers(0, 600), max_size=12))
def test_any_split_and_either_line_end_give_the_same_events(end: str, splits: list[int]) -> None:
    data = _events(end)
    borders = [0, *sorted(min(split, len(data)) for split in splits), len(data)]
    stream, meter = _relay([data[a:b] for a, b in itertools.pairwise(borders)])
    assert stream == WHOLE
    assert meter.reading().completion_tokens == 3
    assert "海".encode() in stream


@pytest.mark.case("clients.10")
def test_a_comment_without_a_blank_line_loses_no_event() -> None:
    data = _events("\n").replace(b"data: {", b": waiting\ndata: {")
    assert _relay([data])[0] == WHOLE


def test_fields_without_a_space_give_the_same_events() -> None:
    # The space after the colon is optional, and the gateway compares whole events.
    assert _relay([_events("\n").replace(b"data: ", b"data:")])[0] == WHOLE


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_an_error_event_is_recognized_wherever_its_error_key_is(end: str) -> None:
    stream, _ = _relay([_events(end, error=True)])
    assert b'data: {"error":{"message":"broken","code":500}}\n\n' in stream


def test_a_stream_without_done_ends_with_an_error() -> None:
    stream, _ = _relay([_events("\n", has_done=False)])
    assert b'data: {"error"' in stream


@pytest.mark.parametrize("count", [10**30, -1, "7", 1.5, None, [3]])
def test_an_impossible_usage_of_a_remote_engine_counts_as_nothing(count: object) -> None:
    meter = CallMeter(lambda: None)
    meter.observe_usage({"prompt_tokens": 4, "completion_tokens": count, "prompt_tokens_details": count})
    reading = meter.reading()
    assert (reading.prompt_tokens, reading.completion_tokens, reading.cached_tokens) == (4, 0, 0)
