"""Reasoning is separate from content in responses, streams and usage; stop strings apply to content."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.effects.endpoints import Endpoints, forced

THINKING: dict[str, Any] = {"chat_template_kwargs": {"enable_thinking": True}}
WORDS = [" first", " apple", " last", "</think>", " then", " river", " end"]


def _both(ask: Endpoints, **fields: Any) -> tuple[str, str, str]:
    """Return reasoning, content and finish reason, after comparing stream and whole response."""
    choice = ask.chat(**fields)["choices"][0]
    plain = (
        choice["message"].get("reasoning") or "",
        choice["message"]["content"] or "",
        choice["finish_reason"],
    )
    stream = ask.stream_chat(**fields)
    assert (stream.reasoning[0], stream.texts[0], stream.reasons[0][0]) == plain
    return plain


@pytest.mark.criterion("1.1")
@pytest.mark.honours("chat", "include_reasoning")
def test_reasoning_is_separate_from_content_and_can_be_left_out(ask: Endpoints, tokenizer: Any) -> None:
    request = {**THINKING, **forced(tokenizer, WORDS)}
    assert _both(ask, **request) == (" first apple last", " then river end", "length")
    assert _both(ask, **request, include_reasoning=False) == ("", " then river end", "length")


@pytest.mark.case("serving.33")
@pytest.mark.criterion("1.6")
@pytest.mark.honours("chat", "stop")
@pytest.mark.parametrize(
    ("stop", "content", "reason"),
    [
        (["apple", "river"], " then ", "stop"),
        ("river", " then ", "stop"),
        (["apple"], " then river end", "length"),
        (["last"], " then river end", "length"),
    ],
)
def test_a_stop_string_in_the_reasoning_does_not_end_the_response(
    ask: Endpoints, tokenizer: Any, stop: str | list[str], content: str, reason: str
) -> None:
    request = {**THINKING, **forced(tokenizer, WORDS), "stop": stop}
    assert _both(ask, **request) == (" first apple last", content, reason)
    assert _both(ask, **request, include_reasoning=False) == ("", content, reason)


@pytest.mark.honours("chat", "stop")
def test_a_stop_string_applies_at_once_without_reasoning(ask: Endpoints, tokenizer: Any) -> None:
    words = [" first", " apple", " last"]
    assert _both(ask, **forced(tokenizer, words), stop=["apple"]) == ("", " first ", "stop")
    several = ask.chat(**forced(tokenizer, words), stop=["apple"], n=2)["choices"]
    assert [choice["message"]["content"] for choice in several] == [" first "] * 2


@pytest.mark.criterion("1.1")
@pytest.mark.honours("chat", "stream_options")
def test_reasoning_tokens_are_counted_in_the_usage(ask: Endpoints, tokenizer: Any) -> None:
    request = {**THINKING, **forced(tokenizer, WORDS)}
    usage = ask.chat(**request)["usage"]
    assert usage["completion_tokens_details"]["reasoning_tokens"] == 3
    assert usage["completion_tokens"] == 7
    streamed = ask.stream_chat(**request, stream_options={"include_usage": True}).usage
    assert streamed is not None
    assert streamed["completion_tokens_details"]["reasoning_tokens"] == 3
    direct = ask.chat(**forced(tokenizer, [" first"]))["usage"]
    assert direct["completion_tokens_details"]["reasoning_tokens"] == 0


@pytest.mark.criterion("1.6")
def test_a_response_truncated_during_reasoning_has_no_content(ask: Endpoints, tokenizer: Any) -> None:
    request = {**THINKING, **forced(tokenizer, WORDS), "max_tokens": 2}
    assert _both(ask, **request) == (" first apple", "", "length")
    assert ask.chat(**request)["choices"][0]["message"]["content"] is None


@pytest.mark.criterion("1.6")
@pytest.mark.honours("chat", "structured_outputs", "tools")
def test_constraints_and_calls_apply_after_the_reasoning(ask: Endpoints, tokenizer: Any) -> None:
    words = [" first", " apple", "</think>"]
    request = {**THINKING, **forced(tokenizer, words), "max_tokens": 80}
    assert _both(ask, **request, structured_outputs={"regex": "So [a-c]{4}[.]"})[0] == " first apple"
    regex_choice = ask.chat(**request, structured_outputs={"regex": "So [a-c]{4}[.]"})["choices"][0]
    assert re.fullmatch("So [a-c]{4}[.]", regex_choice["message"]["content"])
    call = '<tool_call>\n{"name": "tide", "arguments": {"port": "Brest"}}\n</tool_call>'
    tools = [{"type": "function", "function": {"name": "tide", "parameters": {"type": "object"}}}]
    fields = {
        **request,
        "tools": tools,
        "structured_outputs": {"regex": re.escape(call).replace("\\\n", "\n")},
    }
    choice = ask.chat(**fields)["choices"][0]
    stream = ask.stream_chat(**fields)
    assert choice["message"]["reasoning"] == stream.reasoning[0] == " first apple"
    assert choice["finish_reason"] == stream.reasons[0][0] == "tool_calls"
    for arguments in (
        choice["message"]["tool_calls"][0]["function"]["arguments"],
        stream.calls[0][0]["arguments"],
    ):
        assert json.loads(arguments) == {"port": "Brest"}
