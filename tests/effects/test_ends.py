"""Where an answer ends, and what is said about its end."""

from __future__ import annotations

from typing import Any

import pytest

from tests.effects.asking import Asking

EOS = 2
LONG: dict[str, Any] = {"max_tokens": 30, "ignore_eos": True}


@pytest.mark.criterion("1.6")
@pytest.mark.parametrize("limit", [1, 2, 17])
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.honours("chat", name))
        for name in ("max_tokens", "max_completion_tokens")
    ],
)
def test_a_chat_has_exactly_as_many_tokens_as_asked_for(ask: Asking, name: str, limit: int) -> None:
    found = ask.chat(**{"max_tokens": None, name: limit, "ignore_eos": True})
    assert found["usage"]["completion_tokens"] == limit
    assert found["choices"][0]["finish_reason"] == "length"


@pytest.mark.criterion("1.6")
@pytest.mark.honours("completions", "max_tokens")
def test_a_completion_has_exactly_as_many_tokens_as_asked_for_and_16_unasked(ask: Asking) -> None:
    for limit, expected in ((1, 1), (9, 9), (None, 16)):
        found = ask.complete(max_tokens=limit, ignore_eos=True)
        assert found["usage"]["completion_tokens"] == expected
        assert found["choices"][0]["finish_reason"] == "length"
    assert ask.complete(max_tokens=0, echo=True)["choices"][0]["text"] == "The sea"


@pytest.mark.case("serving.29")
@pytest.mark.criterion("1.6")
@pytest.mark.honours("chat", "max_tokens", "ignore_eos")
def test_no_limit_means_all_that_the_context_holds(ask: Asking) -> None:
    found = ask.chat(max_tokens=None, max_completion_tokens=None, ignore_eos=True)
    assert found["usage"]["total_tokens"] == 1024
    assert found["choices"][0]["finish_reason"] == "length"


def _text_of(tokenizer: Any, ids: list[int]) -> str:
    return str(tokenizer.decode(ids))


def _over_a_border(tokenizer: Any, choice: dict[str, Any]) -> tuple[str, str]:
    """A string of which one token has the beginning and the next the end, and the text before it."""
    ids = choice["token_ids"]
    for place in range(8, len(ids) - 1):
        before, whole = _text_of(tokenizer, ids[:place]), _text_of(tokenizer, ids[: place + 1])
        stop = choice["text"][len(before) - 2 : len(before) + 2]
        if (
            "�" not in whole
            and len(whole) >= len(before) + 2
            and choice["text"].index(stop) == len(before) - 2
        ):
            return stop, choice["text"][: len(before) - 2]
    raise AssertionError("no such place in the text")


@pytest.mark.criterion("1.6")
@pytest.mark.honours("completions", "stop", "include_stop_str_in_output")
@pytest.mark.parametrize("streamed", [False, True])
def test_a_stop_string_over_a_border_of_tokens_is_never_in_the_text(
    ask: Asking, tokenizer: Any, streamed: bool
) -> None:
    whole = ask.complete(return_token_ids=True, **LONG)["choices"][0]
    stop, before = _over_a_border(tokenizer, whole)

    def answer(**fields: Any) -> tuple[str, str]:
        if streamed:
            found = ask.stream("completions", prompt="The sea", **LONG, **fields)
            return found.texts[0], found.reasons[0][0]
        choice = ask.complete(**LONG, **fields)["choices"][0]
        return choice["text"], choice["finish_reason"]

    assert answer(stop=stop) == (before, "stop")
    assert answer(stop=["~never~", stop, "~nor this~"]) == (before, "stop")
    assert answer(stop=[stop], include_stop_str_in_output=True) == (before + stop, "stop")
    assert answer(stop=["~never~"]) == (whole["text"], "length")


@pytest.mark.criterion("1.6")
@pytest.mark.honours("chat", "stop", "include_stop_str_in_output")
def test_a_chat_stops_at_the_first_of_several_strings(ask: Asking) -> None:
    whole = ask.chat(**LONG)["choices"][0]["message"]["content"]
    early, late = whole[10:14], whole[20:24]
    for stops in ([early, late], [late, early]):
        for kept in ("", early):
            choice = ask.chat(**LONG, stop=stops, include_stop_str_in_output=bool(kept))["choices"][0]
            assert choice["message"]["content"] == whole[: whole.index(early)] + kept
            assert choice["finish_reason"] == "stop"


@pytest.mark.honours("completions", "stop_token_ids")
@pytest.mark.honours("chat", "stop_token_ids")
def test_a_stop_token_ends_the_answer(ask: Asking) -> None:
    ids = ask.complete(return_token_ids=True, **LONG)["choices"][0]["token_ids"]
    stop = ids[5]
    choice = ask.complete(stop_token_ids=[stop], **LONG)["choices"][0]
    assert (choice["finish_reason"], choice["stop_reason"]) == ("stop", stop)
    found = ask.chat(logit_bias={"900": 100}, stop_token_ids=[900])
    assert found["choices"][0]["finish_reason"] == "stop"
    assert found["usage"]["completion_tokens"] == 1


@pytest.mark.honours("completions", "ignore_eos", "min_tokens", "skip_special_tokens")
@pytest.mark.honours("chat", "ignore_eos", "min_tokens", "skip_special_tokens")
def test_the_end_token_ends_an_answer_unless_it_is_ignored_or_too_early(ask: Asking) -> None:
    ends = {"logit_bias": {str(EOS): 100}, "max_tokens": 8}
    for answer in (ask.complete, ask.chat):
        found = answer(**ends)
        assert found["choices"][0]["finish_reason"] == "stop"
        assert found["usage"]["completion_tokens"] == 1
        assert answer(**ends, min_tokens=5)["usage"]["completion_tokens"] == 6
        ignored = answer(**ends, ignore_eos=True)
        assert ignored["choices"][0]["finish_reason"] == "length"
        assert ignored["usage"]["completion_tokens"] == 8
    assert ask.text(**ends, ignore_eos=True) == ""
    assert ask.text(**ends, ignore_eos=True, skip_special_tokens=False) == "<|im_end|>" * 8
    shown = ask.chat(**ends, ignore_eos=True, skip_special_tokens=False)["choices"][0]["message"]["content"]
    assert shown == "<|im_end|>" * 8
