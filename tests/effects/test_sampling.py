"""How tokens are chosen: each parameter shows in what is generated."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest

from tests.effects.asking import Asking

ENDPOINTS = ("chat", "completions")
HOT: dict[str, Any] = {"temperature": 1.0, "seed": 7, "max_tokens": 24, "ignore_eos": True}


def _ids(ask: Asking, **fields: Any) -> list[int]:
    """The tokens of a completion."""
    ids: list[int] = ask.complete(return_token_ids=True, **fields)["choices"][0]["token_ids"]
    return ids


@pytest.mark.criterion("1.6")
@pytest.mark.honours("completions", "temperature", "prompt", "model")
def test_greedy_is_deterministic_and_heat_is_not(ask: Asking) -> None:
    greedy = [_ids(ask, temperature=0, max_tokens=24, ignore_eos=True) for _ in range(3)]
    assert greedy[0] == greedy[1] == greedy[2]
    hot = [_ids(ask, temperature=1.5, max_tokens=24, ignore_eos=True) for _ in range(3)]
    assert len({tuple(ids) for ids in hot}) == 3


@pytest.mark.criterion("1.6")
@pytest.mark.honours("chat", "temperature", "seed", "messages", "model")
@pytest.mark.honours("completions", "seed")
def test_the_same_seed_gives_the_same_text_and_another_another(ask: Asking) -> None:
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
def test_a_choice_narrowed_to_one_token_is_the_greedy_one_at_any_heat(
    ask: Asking, narrow: dict[str, float]
) -> None:
    greedy = _ids(ask, temperature=0, max_tokens=24, ignore_eos=True)
    assert _ids(ask, **HOT, **narrow) == greedy
    assert _ids(ask, **HOT) != greedy
    said = ask.chat(**HOT, **narrow)["choices"][0]["message"]["content"]
    assert said == ask.chat(max_tokens=24, ignore_eos=True)["choices"][0]["message"]["content"]


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
def test_a_penalty_on_what_was_said_makes_answers_repeat_less(ask: Asking, name: str, value: float) -> None:
    # Three tokens that are far likelier than all others: without a penalty it is always the first.
    likely = {"logit_bias": {"300": 9.0, "301": 8.5, "302": 8.0}, "max_tokens": 21, "ignore_eos": True}
    assert _ids(ask, **likely) == [300] * 21
    assert {300, 301, 302} <= set(_ids(ask, **likely, **{name: value}))
    said = ask.chat(**{**likely, name: value})["choices"][0]["message"]["content"]
    assert said != ask.chat(**likely)["choices"][0]["message"]["content"]


@pytest.mark.criterion("1.6")
@pytest.mark.honours("chat", "logit_bias")
@pytest.mark.honours("completions", "logit_bias")
def test_a_bias_of_a_hundred_forces_a_token_and_of_minus_a_hundred_bans_it(
    ask: Asking, tokenizer: Any
) -> None:
    forced = tokenizer.decode([500])
    assert _ids(ask, logit_bias={"500": 100}, max_tokens=5) == [500] * 5
    assert ask.chat(logit_bias={"500": 100}, max_tokens=5)["choices"][0]["message"]["content"] == forced * 5
    first = _ids(ask, max_tokens=1)[0]
    assert _ids(ask, max_tokens=1, logit_bias={str(first): -100})[0] != first


@pytest.mark.honours("completions", "allowed_token_ids", "bad_words", "return_token_ids")
@pytest.mark.honours("chat", "allowed_token_ids", "bad_words", "return_token_ids")
def test_only_allowed_tokens_and_no_bad_words_are_said(ask: Asking, tokenizer: Any) -> None:
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
def test_each_of_several_choices_has_its_own_index_text_and_end(ask: Asking, streamed: bool) -> None:
    asked = {**HOT, "n": 3, "stop": None}
    plain = ask.chat(**asked)
    if streamed:
        found = ask.stream_chat(**asked, stream_options={"include_usage": True})
        assert sorted(found.reasons) == [0, 1, 2]
        assert all(reasons == ["length"] for reasons in found.reasons.values())
        assert [found.texts[index] for index in range(3)] == [
            choice["message"]["content"] for choice in plain["choices"]
        ]
        assert found.usage is not None
        assert found.usage["completion_tokens"] == 72
        return
    assert [choice["index"] for choice in plain["choices"]] == [0, 1, 2]
    assert [choice["finish_reason"] for choice in plain["choices"]] == ["length"] * 3
    assert len({choice["message"]["content"] for choice in plain["choices"]}) == 3
    assert plain["usage"]["completion_tokens"] == 72


@pytest.mark.criterion("1.6")
@pytest.mark.honours("completions", "n", "best_of", "stream")
def test_choices_of_several_prompts_are_numbered_through(ask: Asking) -> None:
    asked = {**HOT, "n": 2, "best_of": 2, "prompt": ["one", "two"]}
    plain = ask.complete(**asked)
    assert [choice["index"] for choice in plain["choices"]] == [0, 1, 2, 3]
    found = ask.stream("completions", **asked)
    assert sorted(found.reasons) == [0, 1, 2, 3]
    assert [found.texts[index] for index in range(4)] == [choice["text"] for choice in plain["choices"]]


@pytest.mark.criterion("1.6")
@pytest.mark.honours("chat", "logprobs", "top_logprobs")
@pytest.mark.parametrize("streamed", [False, True])
def test_log_probabilities_are_there_for_each_token_the_likeliest_first(ask: Asking, streamed: bool) -> None:
    asked = {"logprobs": True, "top_logprobs": 4, "max_tokens": 6, "ignore_eos": True}
    if streamed:
        chunks = ask.stream_chat(**asked).chunks
        entries = [
            entry
            for chunk in chunks
            for choice in chunk["choices"]
            for entry in (choice.get("logprobs") or {}).get("content") or ()
        ]
    else:
        entries = ask.chat(**asked)["choices"][0]["logprobs"]["content"]
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
def test_log_probabilities_alone_name_no_alternatives(ask: Asking) -> None:
    entries = ask.chat(logprobs=True, max_tokens=3, ignore_eos=True)["choices"][0]["logprobs"]["content"]
    assert [entry["top_logprobs"] for entry in entries] == [[]] * 3
    assert all(entry["logprob"] <= 0 for entry in entries)
    assert ask.chat(logprobs=False)["choices"][0].get("logprobs") is None


@pytest.mark.criterion("1.6")
@pytest.mark.honours("completions", "logprobs", "echo")
def test_log_probabilities_of_completions_come_with_their_places_in_the_text(ask: Asking) -> None:
    choice = ask.complete(logprobs=2, max_tokens=5, ignore_eos=True)["choices"][0]
    found = choice["logprobs"]
    assert {len(found[part]) for part in ("tokens", "token_logprobs", "top_logprobs", "text_offset")} == {5}
    assert "".join(found["tokens"]) == choice["text"]
    for token, logprob, top in zip(
        found["tokens"], found["token_logprobs"], found["top_logprobs"], strict=True
    ):
        assert max(top.values()) == pytest.approx(logprob)
        assert token in top
    echoed = ask.complete(logprobs=1, max_tokens=5, ignore_eos=True, echo=True)["choices"][0]
    assert echoed["text"] == "The sea" + choice["text"]
    assert echoed["logprobs"]["token_logprobs"][0] is None
    assert len(echoed["logprobs"]["tokens"]) > 5
