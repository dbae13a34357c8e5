"""Sampling parameters: each has an effect on the generated tokens."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest

from tests.effects.endpoints import Endpoints

ENDPOINTS = ("chat", "completions")
HOT: dict[str, Any] = {"temperature": 1.0, "seed": 7, "max_tokens": 24, "ignore_eos": True}


def _ids(ask: Endpoints, **fields: Any) -> list[int]:
    """Return the tokens of a completion."""
    ids: list[int] = ask.complete(return_token_ids=True, **fields)["choices"][0]["token_ids"]
    return ids


@pytest.mark.criterion("1.6")
@pytest.mark.honours("completions", "temperature", "prompt", "model")
def test_greedy_sampling_is_deterministic_and_a_temperature_is_not(ask: Endpoints) -> None:
    greedy = [_ids(ask, temperature=0, max_tokens=24, ignore_eos=True) for _ in range(3)]
    assert greedy[0] == greedy[1] == greedy[2]
    hot = [_ids(ask, temperature=1.5, max_tokens=24, ignore_eos=True) for _ in range(3)]
    assert len({tuple(ids) for ids in hot}) == 3


@pytest.mark.criterion("1.6")
@pytest.mark.honours("chat", "temperature", "seed", "messages", "model")
@pytest.mark.honours("completions", "seed")
def test_the_same_seed_repeats_the_text_and_another_changes_it(ask: Endpoints) -> None:
    def chat(seed: int) -> str:
        return str(ask.chat(**{**HOT, "seed": seed})["choices"][0]["message"]["content"])

    assert chat(7) == chat(7) != chat(8)
    assert chat(-1) == chat(-1)
    assert _ids(ask, **HOT) == _ids(ask, **HOT) != _ids(ask, **{**HOT, "seed": 9})


@pytest.mark.criterion("1.6")
@pytest.mark.parametrize(
    "narrow",
    [
        pytest.param({name: value}, marks=[pytest.mark.honours(endpoint, name) for endpoint in ENDPOINTS])
        for name, value in (("top_p", 1e-6), ("top_p", 0), ("top_k", 1), ("min_p", 1.0))
    ],
)
def test_sampling_from_a_single_token_is_greedy_at_any_temperature(
    ask: Endpoints, narrow: dict[str, float]
) -> None:
    greedy = _ids(ask, temperature=0, max_tokens=24, ignore_eos=True)
    assert _ids(ask, **HOT, **narrow) == greedy
    assert _ids(ask, **HOT) != greedy
    text = ask.chat(**HOT, **narrow)["choices"][0]["message"]["content"]
    assert text == ask.chat(max_tokens=24, ignore_eos=True)["choices"][0]["message"]["content"]


@pytest.mark.criterion("1.6")
@pytest.mark.parametrize(
    ("name", "value"),
    [
        pytest.param(name, value, marks=[pytest.mark.honours(endpoint, name) for endpoint in ENDPOINTS])
        for name, value in (
            ("presence_penalty", 2.0),
            ("frequency_penalty", 2.0),
            ("repetition_penalty", 10.0),
        )
    ],
)
def test_penalties_reduce_repetition(ask: Endpoints, name: str, value: float) -> None:
    # Three tokens are far likelier than all others; without a penalty the first always wins.
    likely = {"logit_bias": {"300": 9.0, "301": 8.5, "302": 8.0}, "max_tokens": 21, "ignore_eos": True}
    assert _ids(ask, **likely) == [300] * 21
    assert {300, 301, 302} <= set(_ids(ask, **likely, **{name: value}))
    text = ask.chat(**{**likely, name: value})["choices"][0]["message"]["content"]
    assert text != ask.chat(**likely)["choices"][0]["message"]["content"]


@pytest.mark.criterion("1.6")
@pytest.mark.honours("chat", "logit_bias")
@pytest.mark.honours("completions", "logit_bias")
def test_a_bias_of_100_forces_a_token_and_minus_100_bans_it(ask: Endpoints, tokenizer: Any) -> None:
    forced_text = tokenizer.decode([500])
    assert _ids(ask, logit_bias={"500": 100}, max_tokens=5) == [500] * 5
    assert (
        ask.chat(logit_bias={"500": 100}, max_tokens=5)["choices"][0]["message"]["content"] == forced_text * 5
    )
    first = _ids(ask, max_tokens=1)[0]
    assert _ids(ask, max_tokens=1, logit_bias={str(first): -100})[0] != first


@pytest.mark.honours("completions", "allowed_token_ids", "bad_words", "return_token_ids")
@pytest.mark.honours("chat", "allowed_token_ids", "bad_words", "return_token_ids")
def test_only_allowed_tokens_and_no_bad_words_are_generated(ask: Endpoints, tokenizer: Any) -> None:
    assert set(_ids(ask, allowed_token_ids=[700, 701, 702], **HOT)) <= {700, 701, 702}
    choice = ask.chat(allowed_token_ids=[700], return_token_ids=True, max_tokens=3)["choices"][0]
    assert choice["token_ids"] == [700] * 3
    two = {"allowed_token_ids": [700, 701], "logit_bias": {"700": 50}, "max_tokens": 3}
    word = tokenizer.decode([700])
    assert _ids(ask, **two) == [700] * 3
    assert 700 not in _ids(ask, **two, bad_words=[word.strip()])
    assert word not in ask.chat(**two, bad_words=[word.strip()])["choices"][0]["message"]["content"]


@pytest.mark.case("serving.26")
@pytest.mark.criterion("1.6")
@pytest.mark.honours("chat", "n")
@pytest.mark.parametrize("streamed", [False, True])
def test_each_choice_has_its_own_index_text_and_finish_reason(ask: Endpoints, streamed: bool) -> None:
    fields = {**HOT, "n": 3, "stop": None}
    plain = ask.chat(**fields)
    if streamed:
        stream = ask.stream_chat(**fields, stream_options={"include_usage": True})
        assert sorted(stream.reasons) == [0, 1, 2]
        assert all(reasons == ["length"] for reasons in stream.reasons.values())
        assert [stream.texts[index] for index in range(3)] == [
            choice["message"]["content"] for choice in plain["choices"]
        ]
        assert stream.usage is not None
        assert stream.usage["completion_tokens"] == 72
        return
    assert [choice["index"] for choice in plain["choices"]] == [0, 1, 2]
    assert [choice["finish_reason"] for choice in plain["choices"]] == ["length"] * 3
    assert len({choice["message"]["content"] for choice in plain["choices"]}) == 3
    assert plain["usage"]["completion_tokens"] == 72


@pytest.mark.criterion("1.6")
@pytest.mark.honours("completions", "n", "best_of", "stream")
def test_choices_of_several_prompts_are_numbered_consecutively(ask: Endpoints) -> None:
    fields = {**HOT, "n": 2, "best_of": 2, "prompt": ["one", "two"]}
    plain = ask.complete(**fields)
    assert [choice["index"] for choice in plain["choices"]] == [0, 1, 2, 3]
    stream = ask.stream("completions", **fields)
    assert sorted(stream.reasons) == [0, 1, 2, 3]
    assert [stream.texts[index] for index in range(4)] == [choice["text"] for choice in plain["choices"]]


@pytest.mark.criterion("1.6")
@pytest.mark.honours("chat", "logprobs", "top_logprobs")
@pytest.mark.parametrize("streamed", [False, True])
def test_each_token_has_log_probabilities_in_descending_order(ask: Endpoints, streamed: bool) -> None:
    fields = {"logprobs": True, "top_logprobs": 4, "max_tokens": 6, "ignore_eos": True}
    if streamed:
        chunks = ask.stream_chat(**fields).chunks
        entries = [
            entry
            for chunk in chunks
            for choice in chunk["choices"]
            for entry in (choice.get("logprobs") or {}).get("content") or ()
        ]
    else:
        entries = ask.chat(**fields)["choices"][0]["logprobs"]["content"]
    assert len(entries) == 6
    for entry in entries:
        likeliest = entry["top_logprobs"]
        assert len(likeliest) == 4
        assert all(one["logprob"] >= other["logprob"] for one, other in pairwise(likeliest))
        assert likeliest[0]["token"] == entry["token"]
        assert likeliest[0]["logprob"] == pytest.approx(entry["logprob"])
        assert sum(math.exp(one["logprob"]) for one in likeliest) < 1
        assert bytes(entry["bytes"]).decode(errors="replace") == entry["token"]


@pytest.mark.case("serving.28")
@pytest.mark.criterion("1.6")
@pytest.mark.honours("chat", "logprobs")
def test_log_probabilities_without_top_logprobs_have_no_alternatives(ask: Endpoints) -> None:
    entries = ask.chat(logprobs=True, max_tokens=3, ignore_eos=True)["choices"][0]["logprobs"]["content"]
    assert [entry["top_logprobs"] for entry in entries] == [[]] * 3
    assert all(entry["logprob"] <= 0 for entry in entries)
    assert ask.chat(logprobs=False)["choices"][0].get("logprobs") is None


@pytest.mark.criterion("1.6")
@pytest.mark.honours("completions", "logprobs", "echo")
def test_log_probabilities_of_completions_have_text_offsets(ask: Endpoints) -> None:
    choice = ask.complete(logprobs=2, max_tokens=5, ignore_eos=True)["choices"][0]
    logprobs = choice["logprobs"]
    lists = ("tokens", "token_logprobs", "top_logprobs", "text_offset")
    assert [len(logprobs[name]) for name in lists] == [5] * 4
    assert "".join(logprobs["tokens"]) == choice["text"]
    for token, logprob, top in zip(
        logprobs["tokens"], logprobs["token_logprobs"], logprobs["top_logprobs"], strict=True
    ):
        assert max(top.values()) == pytest.approx(logprob)
        assert token in top
    echo_choice = ask.complete(logprobs=1, max_tokens=5, ignore_eos=True, echo=True)["choices"][0]
    assert echo_choice["text"] == "The sea" + choice["text"]
    assert echo_choice["logprobs"]["token_logprobs"][0] is None
    assert len(echo_choice["logprobs"]["tokens"]) > 5
