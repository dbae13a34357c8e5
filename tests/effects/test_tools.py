"""Tools: each tool choice, several calls, streams and truncated calls, with the real parser."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.effects.endpoints import CITIES, OTHER, STRICT, WEATHER, Endpoints, Json


def _call(city: str, extra: str = "") -> str:
    arguments = json.dumps({"city": city}, ensure_ascii=False)
    return f'<tool_call>\n{{"name": "weather", "arguments": {arguments}}}\n</tool_call>{extra}'


def _generating(text: str, **fields: Any) -> Json:
    """Return parameters that constrain the response to this text."""
    return {
        "structured_outputs": {"regex": re.escape(text).replace("\\\n", "\n")},
        "max_tokens": 150,
        **fields,
    }


def _both(ask: Endpoints, **fields: Any) -> tuple[list[tuple[str, Json]], str, str]:
    """Return calls, content and finish reason, after comparing stream and whole response.

    Streamed arguments keep the model's white space; the JSON is the same.
    """
    choice = ask.chat(**fields)["choices"][0]
    message = choice["message"]
    calls = message.get("tool_calls") or []
    assert len({call["id"] for call in calls}) == len(calls)
    assert all(call["type"] == "function" for call in calls)
    plain = [(call["function"]["name"], json.loads(call["function"]["arguments"])) for call in calls]
    stream = ask.stream_chat(**fields)
    assert [(call["name"], json.loads(call["arguments"])) for call in stream.calls[0]] == plain
    assert stream.texts[0] == (message["content"] or "")
    assert stream.reasons[0] == [choice["finish_reason"]]
    return plain, message["content"] or "", choice["finish_reason"]


@pytest.mark.criterion("1.6", "1.3")
@pytest.mark.honours("chat", "tools", "tool_choice", "parallel_tool_calls")
@pytest.mark.parametrize("choice", [None, "auto"])
def test_calls_in_the_text_become_tool_calls(ask: Endpoints, choice: str | None) -> None:
    fields = {"tools": [WEATHER], "tool_choice": choice}
    one = ("weather", {"city": "Paris"})
    assert _both(ask, **fields, **_generating(_call("Paris"))) == ([one], "", "tool_calls")
    two = [one, ("weather", {"city": 'Zürich " 北京'})]
    text = _call("Paris", "\n") + _call('Zürich " 北京')
    assert _both(ask, **fields, **_generating(text)) == (two, "", "tool_calls")
    assert _both(ask, **fields, **_generating(text), parallel_tool_calls=True) == (two, "", "tool_calls")
    assert _both(ask, **fields, **_generating(text), parallel_tool_calls=False) == ([one], "", "tool_calls")


@pytest.mark.criterion("1.6")
@pytest.mark.honours("chat", "tools")
def test_text_before_calls_and_text_without_calls_is_content(ask: Endpoints) -> None:
    fields = _generating("Let me see. " + _call("Rome"))
    assert _both(ask, tools=[WEATHER], **fields) == (
        [("weather", {"city": "Rome"})],
        "Let me see. ",
        "tool_calls",
    )
    assert _both(ask, tools=[WEATHER], **_generating("It rains.")) == ([], "It rains.", "stop")


@pytest.mark.criterion("1.6")
@pytest.mark.honours("chat", "tool_choice")
def test_a_call_is_text_with_the_choice_none(ask: Endpoints) -> None:
    fields = {"tools": [WEATHER], "tool_choice": "none"}
    assert _both(ask, **fields, **_generating(_call("Rome"))) == ([], _call("Rome"), "stop")


@pytest.mark.criterion("1.6")
@pytest.mark.honours("chat", "tools", "tool_choice", "parallel_tool_calls")
def test_a_required_call_has_arguments_that_match_the_schema(ask: Endpoints, no_space: Json) -> None:
    calls, content, reason = _both(
        ask, tools=[STRICT, OTHER], tool_choice="required", parallel_tool_calls=False, **no_space
    )
    assert [name for name, _ in calls] in (["weather"], ["tide"])
    assert calls[0][1]["city"] in CITIES
    assert (content, reason) == ("", "tool_calls")


@pytest.mark.criterion("1.6")
@pytest.mark.honours("chat", "tool_choice")
@pytest.mark.parametrize("name", ["weather", "tide"])
def test_a_named_tool_is_called(ask: Endpoints, no_space: Json, name: str) -> None:
    choice = {"type": "function", "function": {"name": name}}
    calls, content, reason = _both(
        ask, tools=[STRICT, OTHER], tool_choice=choice, parallel_tool_calls=False, **no_space
    )
    assert [called_name for called_name, _ in calls] == [name]
    assert calls[0][1]["city"] in CITIES
    # As OpenAI: the reason is stop if the client names the tool.
    assert (content, reason) == ("", "stop")


@pytest.mark.case("serving.31")
@pytest.mark.criterion("1.6")
@pytest.mark.honours("chat", "tools", "max_tokens")
def test_a_truncated_call_is_the_same_streamed_and_whole(ask: Endpoints) -> None:
    text = "So: " + _call("Paris", "\n") + _call("Rome")
    whole = ask.chat(tools=[WEATHER], **_generating(text))["usage"]["completion_tokens"]
    for limit in range(4, whole - 1, 6):
        fields = {"tools": [WEATHER], **_generating(text), "max_tokens": limit}
        stream = ask.stream_chat(**fields)
        choice = ask.chat(**fields)["choices"][0]
        calls = choice["message"].get("tool_calls") or []
        plain = [(call["function"]["name"], call["function"]["arguments"]) for call in calls]
        assert [(call["name"], call["arguments"]) for call in stream.calls[0]] == plain
        assert (choice["message"]["content"] or "") == stream.texts[0]
        assert stream.reasons[0] == [choice["finish_reason"]] == ["length"]
        assert "<tool_call>" not in stream.texts[0]
        for (name, arguments), city in zip(plain, CITIES, strict=False):
            assert name == "weather"
            assert json.dumps({"city": city}).startswith(arguments)
    prose = {"tools": [WEATHER], **_generating("It rains in Rome, and in Paris."), "max_tokens": 5}
    assert ask.chat(**prose)["choices"][0]["message"]["content"] == ask.stream_chat(**prose).texts[0] != ""


@pytest.mark.case("serving.29")
@pytest.mark.honours("chat", "messages")
@pytest.mark.parametrize("content", [None, "", "Let me see."])
def test_calls_and_their_results_can_be_sent_in_a_conversation(ask: Endpoints, content: str | None) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Rome"}'}}
    history = [
        {"role": "user", "content": "How is it in Rome?"},
        {"role": "assistant", "content": content, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "rain"},
    ]
    response = ask.chat(messages=history, tools=[WEATHER], **_generating("Rain."))
    assert response["choices"][0]["message"]["content"] == "Rain."
