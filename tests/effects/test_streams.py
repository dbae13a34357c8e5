"""What comes with a stream: usage as asked for, and a real status while nothing was sent."""

from __future__ import annotations

from typing import Any

import pytest

from tests.effects.asking import PLAIN, QUESTION, Asking, Json, forced

LONG = {"max_tokens": 6, "ignore_eos": True}


def _with_usage(chunks: list[Json]) -> list[int]:
    """The places of the chunks that carry usage."""
    return [place for place, chunk in enumerate(chunks) if chunk.get("usage")]


@pytest.mark.case("serving.22")
@pytest.mark.criterion("1.3")
@pytest.mark.honours("chat", "stream", "stream_options")
@pytest.mark.honours("completions", "stream", "stream_options")
@pytest.mark.parametrize("path", ["chat/completions", "completions"])
def test_usage_comes_last_and_alone_and_only_when_asked_for(ask: Asking, path: str) -> None:
    fields: Json = {**PLAIN, **LONG} if path.startswith("chat") else {"prompt": "The sea", **LONG}
    asked = ask.stream(path, **fields, stream_options={"include_usage": True}).chunks
    assert _with_usage(asked) == [len(asked) - 1]
    assert asked[-1]["choices"] == []
    usage = asked[-1]["usage"]
    assert usage["completion_tokens"] == 6
    assert usage["total_tokens"] == usage["prompt_tokens"] + 6
    assert all(chunk["choices"] for chunk in asked[:-1])
    for options in (
        {},
        {"stream_options": None},
        {"stream_options": {"include_usage": False}},
        {"stream_options": {"include_usage": None, "include_obfuscation": False}},
    ):
        unasked = ask.stream(path, **fields, **options).chunks
        assert _with_usage(unasked) == []
        assert unasked
        assert all(chunk["choices"] for chunk in unasked)


@pytest.mark.honours("chat", "stream_options")
@pytest.mark.honours("completions", "stream_options")
@pytest.mark.parametrize("path", ["chat/completions", "completions"])
def test_continuous_usage_counts_up_in_every_chunk(ask: Asking, path: str) -> None:
    fields: Json = {**PLAIN, **LONG} if path.startswith("chat") else {"prompt": "The sea", **LONG}
    options = {"include_usage": True, "continuous_usage_stats": True}
    chunks = ask.stream(path, **fields, stream_options=options).chunks
    counts = [chunk["usage"]["completion_tokens"] for chunk in chunks]
    assert counts == sorted(counts)
    assert counts[-1] == 6
    assert len(set(counts)) > 3


@pytest.mark.criterion("1.3")
@pytest.mark.honours("chat", "stream", "max_tokens")
def test_a_stream_has_one_role_one_reason_and_one_id(ask: Asking) -> None:
    chunks = ask.stream_chat(**LONG).chunks
    assert [chunk["choices"][0]["delta"].get("role") for chunk in chunks].count("assistant") == 1
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert len({chunk["id"] for chunk in chunks}) == 1
    reasons = [chunk["choices"][0]["finish_reason"] for chunk in chunks]
    assert reasons == [None] * (len(chunks) - 1) + ["length"]


def test_what_was_in_the_prompt_before_is_counted_as_cached(ask: Asking) -> None:
    question = [{"role": "user", "content": "A long question about the sea and the wind. " * 20}]
    first = ask.chat(messages=question, max_tokens=1)["usage"]
    again = ask.chat(messages=question, max_tokens=1)["usage"]
    assert first["prompt_tokens"] == again["prompt_tokens"] > 160
    assert (first["prompt_tokens_details"]["cached_tokens"] or 0) < 64
    cached = again["prompt_tokens_details"]["cached_tokens"]
    assert 128 <= cached <= again["prompt_tokens"]
    streamed = ask.stream_chat(messages=question, max_tokens=1, stream_options={"include_usage": True}).usage
    assert streamed is not None
    assert streamed["prompt_tokens_details"]["cached_tokens"] == cached


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
def test_what_the_engine_refuses_has_a_status_of_its_own_on_a_stream_too(
    ask: Asking, path: str, wrong: Json, code: str, param: str
) -> None:
    fields: dict[str, Any] = {"messages": QUESTION} if path.startswith("chat") else {"prompt": "The sea"}
    errors = [ask.refusal(path, **fields, **wrong, stream=streamed) for streamed in (True, False)]
    assert errors[0] == errors[1]
    renamed = {"messages": next(iter(fields))}
    assert (errors[0]["code"], errors[0]["param"]) == (code, renamed.get(param, param))


TEXTS = ["海 é 😀", "naïve – 你好 🎉"]


@pytest.mark.criterion("1.3")
@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("long_way", [{}, {"skip_special_tokens": True}, {"stop": ["~~"]}])
def test_characters_over_several_tokens_are_whole_in_every_piece(
    ask: Asking, tokenizer: Any, text: str, long_way: Json
) -> None:
    said = forced(tokenizer, [text])
    assert said["max_tokens"] > len(text) - 3
    for found in (
        ask.stream_chat(**said, **long_way),
        ask.stream("completions", prompt="x", **said, **long_way),
    ):
        assert found.texts[0] == text
        pieces = [
            choice.get("text") or choice.get("delta", {}).get("content") or ""
            for chunk in found.chunks
            for choice in chunk["choices"]
        ]
        assert not any("�" in piece for piece in pieces)
    assert ask.chat(**said, **long_way)["choices"][0]["message"]["content"] == text
