"""Streams: usage on request, HTTP errors before the first event, whole characters."""

from __future__ import annotations

from typing import Any

import pytest

from tests.effects.endpoints import PLAIN, QUESTION, Endpoints, Json, forced

LONG = {"max_tokens": 6, "ignore_eos": True}


def _with_usage(chunks: list[Json]) -> list[int]:
    """Return the indexes of the chunks with usage."""
    return [index for index, chunk in enumerate(chunks) if chunk.get("usage")]


@pytest.mark.case("serving.22")
@pytest.mark.criterion("1.3")
@pytest.mark.honours("chat", "stream", "stream_options")
@pytest.mark.honours("completions", "stream", "stream_options")
@pytest.mark.parametrize("path", ["chat/completions", "completions"])
def test_usage_is_in_a_last_chunk_of_its_own_on_request(ask: Endpoints, path: str) -> None:
    fields: Json = {**PLAIN, **LONG} if path.startswith("chat") else {"prompt": "The sea", **LONG}
    chunks = ask.stream(path, **fields, stream_options={"include_usage": True}).chunks
    assert _with_usage(chunks) == [len(chunks) - 1]
    assert chunks[-1]["choices"] == []
    usage = chunks[-1]["usage"]
    assert usage["completion_tokens"] == 6
    assert usage["total_tokens"] == usage["prompt_tokens"] + 6
    assert all(chunk["choices"] for chunk in chunks[:-1])
    for options in (
        {},
        {"stream_options": None},
        {"stream_options": {"include_usage": False}},
        {"stream_options": {"include_usage": None, "include_obfuscation": False}},
    ):
        other_chunks = ask.stream(path, **fields, **options).chunks
        assert _with_usage(other_chunks) == []
        assert other_chunks
        assert all(chunk["choices"] for chunk in other_chunks)


@pytest.mark.honours("chat", "stream_options")
@pytest.mark.honours("completions", "stream_options")
@pytest.mark.parametrize("path", ["chat/completions", "completions"])
def test_continuous_usage_increases_in_every_chunk(ask: Endpoints, path: str) -> None:
    fields: Json = {**PLAIN, **LONG} if path.startswith("chat") else {"prompt": "The sea", **LONG}
    options = {"include_usage": True, "continuous_usage_stats": True}
    chunks = ask.stream(path, **fields, stream_options=options).chunks
    counts = [chunk["usage"]["completion_tokens"] for chunk in chunks]
    assert counts == sorted(counts)
    assert counts[-1] == 6
    assert len(set(counts)) > 3


@pytest.mark.criterion("1.3")
@pytest.mark.honours("chat", "stream", "max_tokens")
def test_a_stream_has_one_role_one_finish_reason_and_one_id(ask: Endpoints) -> None:
    chunks = ask.stream_chat(**LONG).chunks
    assert [chunk["choices"][0]["delta"].get("role") for chunk in chunks].count("assistant") == 1
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert len({chunk["id"] for chunk in chunks}) == 1
    reasons = [chunk["choices"][0]["finish_reason"] for chunk in chunks]
    assert reasons == [None] * (len(chunks) - 1) + ["length"]


def test_a_repeated_prompt_is_counted_as_cached(ask: Endpoints) -> None:
    question = [{"role": "user", "content": "A long question about the sea and the wind. " * 20}]
    first = ask.chat(messages=question, max_tokens=1)["usage"]
    again = ask.chat(messages=question, max_tokens=1)["usage"]
    assert first["prompt_tokens"] == again["prompt_tokens"] > 160
    assert (first["prompt_tokens_details"]["cached_tokens"] or 0) < 64
    cached_tokens = again["prompt_tokens_details"]["cached_tokens"]
    assert 128 <= cached_tokens <= again["prompt_tokens"]
    streamed = ask.stream_chat(messages=question, max_tokens=1, stream_options={"include_usage": True}).usage
    assert streamed is not None
    assert streamed["prompt_tokens_details"]["cached_tokens"] == cached_tokens


@pytest.mark.case("serving.25")
@pytest.mark.criterion("1.3", "1.7")
@pytest.mark.parametrize("path", ["chat/completions", "completions"])
@pytest.mark.parametrize(
    ("wrong", "code", "param"),
    [
        ({"logit_bias": {"60000": 1}}, "invalid_value", "logit_bias"),
        ({"allowed_token_ids": [60000]}, "invalid_value", "allowed_token_ids"),
        ({"stop_token_ids": [60000]}, "invalid_value", "stop_token_ids"),
        ({"max_tokens": 5000}, "context_length_exceeded", "messages"),
        ({"min_tokens": 9, "max_tokens": 6}, "invalid_value", "min_tokens"),
    ],
)
def test_errors_of_the_engine_have_an_http_status_for_streams_too(
    ask: Endpoints, path: str, wrong: Json, code: str, param: str
) -> None:
    fields: dict[str, Any] = {"messages": QUESTION} if path.startswith("chat") else {"prompt": "The sea"}
    errors = [ask.refusal(path, **fields, **wrong, stream=streamed) for streamed in (True, False)]
    assert errors[0] == errors[1]
    renames = {"messages": next(iter(fields))}
    assert (errors[0]["code"], errors[0]["param"]) == (code, renames.get(param, param))


TEXTS = ["海 é 😀", "naïve – 你好 🎉"]


@pytest.mark.criterion("1.3")
@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("slow_path", [{}, {"skip_special_tokens": True}, {"stop": ["~~"]}])
def test_characters_across_tokens_are_whole_in_every_chunk(
    ask: Endpoints, tokenizer: Any, text: str, slow_path: Json
) -> None:
    request = forced(tokenizer, [text])
    assert request["max_tokens"] > len(text) - 3
    for stream in (
        ask.stream_chat(**request, **slow_path),
        ask.stream("completions", prompt="x", **request, **slow_path),
    ):
        assert stream.texts[0] == text
        pieces = [
            choice.get("text") or choice.get("delta", {}).get("content") or ""
            for chunk in stream.chunks
            for choice in chunk["choices"]
        ]
        assert not any("�" in piece for piece in pieces)
    assert ask.chat(**request, **slow_path)["choices"][0]["message"]["content"] == text
