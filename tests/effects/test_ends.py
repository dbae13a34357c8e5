"""The end of a response, and its finish reason."""

from __future__ import annotations

from typing import Any

import pytest

from tests.effects.endpoints import Endpoints

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
def test_a_chat_has_exactly_the_requested_number_of_tokens(ask: Endpoints, name: str, limit: int) -> None:
    response = ask.chat(**{"max_tokens": None, name: limit, "ignore_eos": True})
    assert response["usage"]["completion_tokens"] == limit
    assert response["choices"][0]["finish_reason"] == "length"


@pytest.mark.criterion("1.6")
@pytest.mark.honours("completions", "max_tokens")
def test_a_completion_has_exactly_the_requested_number_of_tokens_or_16(ask: Endpoints) -> None:
    for limit, length in ((1, 1), (9, 9), (None, 16)):
        response = ask.complete(max_tokens=limit, ignore_eos=True)
        assert response["usage"]["completion_tokens"] == length
        assert response["choices"][0]["finish_reason"] == "length"
    assert ask.complete(max_tokens=0, echo=True)["choices"][0]["text"] == "The sea"


@pytest.mark.case("serving.29")
@pytest.mark.criterion("1.6")
@pytest.mark.honours("chat", "max_tokens", "ignore_eos")
def test_a_chat_without_a_limit_fills_the_context(ask: Endpoints) -> None:
    response = ask.chat(max_tokens=None, max_completion_tokens=None, ignore_eos=True)
    assert response["usage"]["total_tokens"] == 1024
    assert response["choices"][0]["finish_reason"] == "length"


def _text_of(tokenizer: Any, ids: list[int]) -> str:
    return str(tokenizer.decode(ids))


def _stop_across_tokens(tokenizer: Any, choice: dict[str, Any]) -> tuple[str, str]:
    """Return a string that spans two tokens, and the text before it."""
    ids = choice["token_ids"]
    for index in range(8, len(ids) - 1):
        before, whole = _text_of(tokenizer, ids[:index]), _text_of(tokenizer, ids[: index + 1])
        stop = choice["text"][len(before) - 2 : len(before) + 2]
        if (
            "�" not in whole
            and len(whole) >= len(before) + 2
            and choice["text"].index(stop) == len(before) - 2
        ):
            return stop, choice["text"][: len(before) - 2]
    raise AssertionError("no such string in the text")


@pytest.mark.criterion("1.6")
@pytest.mark.honours("completions", "stop", "include_stop_str_in_output")
@pytest.mark.parametrize("streamed", [False, True])
def test_a_stop_string_across_tokens_is_never_in_the_text(
    ask: Endpoints, tokenizer: Any, streamed: bool
) -> None:
    whole = ask.complete(return_token_ids=True, **LONG)["choices"][0]
    stop, before = _stop_across_tokens(tokenizer, whole)

    def answer(**fields: Any) -> tuple[str, str]:
        if streamed:
            response = ask.stream("completions", prompt="The sea", **LONG, **fields)
            return response.texts[0], response.reasons[0][0]
        choice = ask.complete(**LONG, **fields)["choices"][0]
        return choice["text"], choice["finish_reason"]

    assert answer(stop=stop) == (before, "stop")
    assert answer(stop=["~never~", stop, "~nor this~"]) == (before, "stop")
    assert answer(stop=[stop], include_stop_str_in_output=True) == (before + stop, "stop")
    assert answer(stop=["~never~"]) == (whole["text"], "length")


@pytest.mark.criterion("1.6")
@pytest.mark.honours("chat", "stop", "include_stop_str_in_output")
def test_a_chat_stops_at_the_first_of_several_strings(ask: Endpoints) -> None:
    whole = ask.chat(**LONG)["choices"][0]["message"]["content"]
    early, late = whole[10:14], whole[20:24]
    for stops in ([early, late], [late, early]):
        for suffix in ("", early):
            choice = ask.chat(**LONG, stop=stops, include_stop_str_in_output=bool(suffix))["choices"][0]
            assert choice["message"]["content"] == whole[: whole.index(early)] + suffix
            assert choice["finish_reason"] == "stop"


@pytest.mark.honours("completions", "stop_token_ids")
@pytest.mark.honours("chat", "stop_token_ids")
def test_a_stop_token_ends_the_response(ask: Endpoints) -> None:
    ids = ask.complete(return_token_ids=True, **LONG)["choices"][0]["token_ids"]
    stop = ids[5]
    choice = ask.complete(stop_token_ids=[stop], **LONG)["choices"][0]
    assert (choice["finish_reason"], choice["stop_reason"]) == ("stop", stop)
    response = ask.chat(logit_bias={"900": 100}, stop_token_ids=[900])
    assert response["choices"][0]["finish_reason"] == "stop"
    assert response["usage"]["completion_tokens"] == 1


@pytest.mark.honours("completions", "ignore_eos", "min_tokens", "skip_special_tokens")
@pytest.mark.honours("chat", "ignore_eos", "min_tokens", "skip_special_tokens")
def test_the_end_token_ends_a_response_unless_it_is_ignored_or_too_early(ask: Endpoints) -> None:
    ends = {"logit_bias": {str(EOS): 100}, "max_tokens": 8}
    for answer in (ask.complete, ask.chat):
        response = answer(**ends)
        assert response["choices"][0]["finish_reason"] == "stop"
        assert response["usage"]["completion_tokens"] == 1
        assert answer(**ends, min_tokens=5)["usage"]["completion_tokens"] == 6
        full_text = answer(**ends, ignore_eos=True)
        assert full_text["choices"][0]["finish_reason"] == "length"
        assert full_text["usage"]["completion_tokens"] == 8
    assert ask.text(**ends, ignore_eos=True) == ""
    assert ask.text(**ends, ignore_eos=True, skip_special_tokens=False) == "<|im_end|>" * 8
    text = ask.chat(**ends, ignore_eos=True, skip_special_tokens=False)["choices"][0]["message"]["content"]
    assert text == "<|im_end|>" * 8
