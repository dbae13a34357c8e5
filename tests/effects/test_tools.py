"""Tools: every choice among them, several calls, streams and cut calls, read by the real parser."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.effects.asking import CITIES, OTHER, STRICT, WEATHER, Asking, Json


def _call(city: str, extra: str = "") -> str:
    arguments = json.dumps({"city": city}, ensure_ascii=False)
    return f'<tool_call>\n{{"name": "weather", "arguments": {arguments}}}\n</tool_call>{extra}'


def _saying(text: str, **fields: Any) -> Json:
    """A request whose answer is this text."""
    return {
        "structured_outputs": {"regex": re.escape(text).replace("\\\n", "\n")},
        "max_tokens": 150,
        **fields,
    }


def _both(ask: Asking, **fields: Any) -> tuple[list[tuple[str, Json]], str, str]:
    """Calls, content and finish reason, the same streamed and plain.

    A stream has the arguments as the model wrote them, white space and all; they are the same JSON.
    """
    choice = ask.chat(**fields)["choices"][0]
    message = choice["message"]
    calls = message.get("tool_calls") or []
    assert len({call["id"] for call in calls}) == len(calls)
    assert all(call["type"] == "function" for call in calls)
    plain = [(call["function"]["name"], json.loads(call["function"]["arguments"])) for call in calls]
    found = ask.stream_chat(**fields)
    assert [(call["name"], json.loads(call["arguments"])) for call in found.calls[0]] == plain
    assert found.texts[0] == (message["content"] or "")
    assert found.reasons[0] == [choice["finish_reason"]]
    return plain, message["content"] or "", choice["finish_reason"]


@pytest.mark.criterion("1.6", "1.3")
@pytest.mark.honours("chat", "tools", "tool_choice", "parallel_tool_calls")
@pytest.mark.parametrize("choice", [None, "auto"])
def test_calls_in_the_text_become_calls_in_the_answer(ask: Asking, choice: str | None) -> None:
    asked = {"tools": [WEATHER], "tool_choice": choice}
    one = ("weather", {"city": "Paris"})
    assert _both(ask, **asked, **_saying(_call("Paris"))) == ([one], "", "tool_calls")
    two = [one, ("weather", {"city": 'Zürich " 北京'})]
    text = _call("Paris", "\n") + _call('Zürich " 北京')
    assert _both(ask, **asked, **_saying(text)) == (two, "", "tool_calls")
    assert _both(ask, **asked, **_saying(text), parallel_tool_calls=True) == (two, "", "tool_calls")
    assert _both(ask, **asked, **_saying(text), parallel_tool_calls=False) == ([one], "", "tool_calls")


@pytest.mark.criterion("1.6")
@pytest.mark.honours("chat", "tools")
def test_text_beside_calls_is_content_and_text_alone_is_an_answer(ask: Asking) -> None:
    saying = _saying("Let me see. " + _call("Rome"))
    assert _both(ask, tools=[WEATHER], **saying) == (
        [("weather", {"city": "Rome"})],
        "Let me see. ",
        "tool_calls",
    )
    assert _both(ask, tools=[WEATHER], **_saying("It rains.")) == ([], "It rains.", "stop")


@pytest.mark.criterion("1.6")
@pytest.mark.honours("chat", "tool_choice")
def test_with_choice_none_a_call_stays_text(ask: Asking) -> None:
    asked = {"tools": [WEATHER], "tool_choice": "none"}
    assert _both(ask, **asked, **_saying(_call("Rome"))) == ([], _call("Rome"), "stop")


@pytest.mark.criterion("1.6")
@pytest.mark.honours("chat", "tools", "tool_choice", "parallel_tool_calls")
def test_a_required_call_is_made_and_its_arguments_match_the_schema(ask: Asking, no_space: Json) -> None:
    calls, content, reason = _both(
        ask, tools=[STRICT, OTHER], tool_choice="required", parallel_tool_calls=False, **no_space
    )
    assert [name for name, _ in calls] in (["weather"], ["tide"])
    assert calls[0][1]["city"] in CITIES
    assert (content, reason) == ("", "tool_calls")


@pytest.mark.criterion("1.6")
@pytest.mark.honours("chat", "tool_choice")
@pytest.mark.parametrize("name", ["weather", "tide"])
def test_a_named_call_is_the_one_that_is_made(ask: Asking, no_space: Json, name: str) -> None:
    choice = {"type": "function", "function": {"name": name}}
    calls, content, reason = _both(
        ask, tools=[STRICT, OTHER], tool_choice=choice, parallel_tool_calls=False, **no_space
    )
    assert [called for called, _ in calls] == [name]
    assert calls[0][1]["city"] in CITIES
    # OpenAI's: stop where the client has made the choice.
    assert (content, reason) == ("", "stop")


@pytest.mark.case("serving.31")
@pytest.mark.criterion("1.6")
@pytest.mark.honours("chat", "tools", "max_tokens")
def test_a_call_cut_by_the_limit_is_the_same_beginning_streamed_and_plain(ask: Asking) -> None:
    text = "So: " + _call("Paris", "\n") + _call("Rome")
    whole = ask.chat(tools=[WEATHER], **_saying(text))["usage"]["completion_tokens"]
    for limit in range(4, whole - 1, 6):
        asked = {"tools": [WEATHER], **_saying(text), "max_tokens": limit}
        found = ask.stream_chat(**asked)
        choice = ask.chat(**asked)["choices"][0]
        calls = choice["message"].get("tool_calls") or []
        plain = [(call["function"]["name"], call["function"]["arguments"]) for call in calls]
        assert [(call["name"], call["arguments"]) for call in found.calls[0]] == plain
        assert (choice["message"]["content"] or "") == found.texts[0]
        assert found.reasons[0] == [choice["finish_reason"]] == ["length"]
        assert "<tool_call>" not in found.texts[0]
        for (name, arguments), city in zip(plain, CITIES, strict=False):
            assert name == "weather"
            assert json.dumps({"city": city}).startswith(arguments)
    prose = {"tools": [WEATHER], **_saying("It rains in Rome, and in Paris."), "max_tokens": 5}
    assert ask.chat(**prose)["choices"][0]["message"]["content"] == ask.stream_chat(**prose).texts[0] != ""


@pytest.mark.case("serving.29")
@pytest.mark.honours("chat", "messages")
@pytest.mark.parametrize("content", [None, "", "Let me see."])
def test_calls_and_their_results_can_be_sent_back(ask: Asking, content: str | None) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Rome"}'}}
    history = [
        {"role": "user", "content": "How is it in Rome?"},
        {"role": "assistant", "content": content, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "rain"},
    ]
    found = ask.chat(messages=history, tools=[WEATHER], **_saying("Rain."))
    assert found["choices"][0]["message"]["content"] == "Rain."
