"""What a valid Responses request asks of an engine, and what the response repeats of it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from api.openai.errors.base import ApiError
from api.openai.responses.assembly import ResponseAssembly
from api.openai.responses.parameters import UNSUPPORTED_RESPONSES
from api.openai.responses.requests import validate_response_body
from api.openai.responses.schema import LOGPROBS, ResponseRequest
from tests.openai.responses.strict import checked_response

BODY: dict[str, Any] = {"model": "m", "input": "hi"}
USER = {"role": "user", "content": "hi"}
ALWAYS = {
    "model": "canonical",
    "messages": [USER],
    "stream": True,
    "stream_options": {"include_usage": True},
    "cache_salt": "s",
}
SCHEMA = {"type": "object", "properties": {"a": {"type": ["integer", "null"]}}}
FORMAT = {"type": "json_schema", "name": "n", "schema": SCHEMA, "strict": True}
TOOL = {"type": "function", "name": "f", "description": "d", "parameters": SCHEMA, "strict": True}
CHAT_TOOL = {
    "type": "function",
    "function": {"name": "f", "description": "d", "parameters": SCHEMA, "strict": True},
}
OTHER = {"type": "function", "name": "g"}
CHAT_OTHER = {"type": "function", "function": {"name": "g"}}
BOTH = {"tools": [CHAT_TOOL, CHAT_OTHER]}


def sent(change: dict[str, Any]) -> dict[str, Any]:
    """What the engine gets beyond what it always gets."""
    chat = validate_response_body({**BODY, **change}).chat()
    body: dict[str, Any] = json.loads(chat.engine_body(model="canonical", cache_salt="s"))
    assert ALWAYS.keys() <= body.keys()
    return {name: value for name, value in body.items() if ALWAYS.get(name) != value}


def honoured(name: str, given: Any, chat: dict[str, Any], **more: Any) -> Any:
    return pytest.param({name: given, **more}, chat, marks=pytest.mark.honours("responses", name), id=name)


TABLE = [
    honoured("instructions", "be brief", {"messages": [{"role": "system", "content": "be brief"}, USER]}),
    honoured("max_output_tokens", 5, {"max_completion_tokens": 5}),
    honoured("temperature", 0, {"temperature": 0}),
    honoured("top_p", 0.5, {"top_p": 0.5}),
    honoured("include", [LOGPROBS], {"logprobs": True, "top_logprobs": 0}),
    honoured("top_logprobs", 3, {"logprobs": True, "top_logprobs": 3}, include=[LOGPROBS]),
    honoured("text", {"format": {"type": "json_object"}}, {"response_format": {"type": "json_object"}}),
    honoured(
        "text",
        {"format": FORMAT, "verbosity": "medium"},
        {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "n", "schema": SCHEMA, "strict": True},
            }
        },
    ),
    honoured("reasoning", {"effort": "low", "mode": "standard"}, {"reasoning_effort": "low"}),
    honoured("reasoning", {"context": "auto"}, {}),
    honoured("tools", [TOOL, OTHER], BOTH),
    honoured("parallel_tool_calls", False, {**BOTH, "parallel_tool_calls": False}, tools=[TOOL, OTHER]),
    honoured("tool_choice", "required", {**BOTH, "tool_choice": "required"}, tools=[TOOL, OTHER]),
    honoured(
        "tool_choice",
        {"type": "function", "name": "g"},
        {**BOTH, "tool_choice": {"type": "function", "function": {"name": "g"}}},
        tools=[TOOL, OTHER],
    ),
    honoured(
        "tool_choice",
        {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "g"}]},
        {"tools": [CHAT_OTHER], "tool_choice": "required"},
        tools=[TOOL, OTHER],
    ),
    honoured("stop", ["a"], {"stop": ["a"]}),
    honoured("seed", -2, {"seed": -2}),
    honoured("presence_penalty", 1, {"presence_penalty": 1}),
    honoured("frequency_penalty", 1.5, {"frequency_penalty": 1.5}),
    honoured("logit_bias", {"5": -100}, {"logit_bias": {"5": -100}}),
    honoured("top_k", 5, {"top_k": 5}),
    honoured("min_p", 0.1, {"min_p": 0.1}),
    honoured("repetition_penalty", 1.1, {"repetition_penalty": 1.1}),
    honoured("min_tokens", 2, {"min_tokens": 2}),
    honoured("ignore_eos", True, {"ignore_eos": True}),
    honoured("stop_token_ids", [5], {"stop_token_ids": [5]}),
    honoured("bad_words", ["a"], {"bad_words": ["a"]}),
    honoured("allowed_token_ids", [5], {"allowed_token_ids": [5]}),
    honoured("skip_special_tokens", False, {"skip_special_tokens": False}),
    honoured("spaces_between_special_tokens", False, {"spaces_between_special_tokens": False}),
    honoured("include_stop_str_in_output", True, {"include_stop_str_in_output": True}),
    honoured("add_special_tokens", True, {"add_special_tokens": True}),
    honoured("structured_outputs", {"choice": ["a"]}, {"structured_outputs": {"choice": ["a"]}}),
    honoured("chat_template_kwargs", {"k": 1}, {"chat_template_kwargs": {"k": 1}}),
    honoured("include_reasoning", False, {"include_reasoning": False}),
    # By definition without effect on the answer.
    honoured("truncation", "disabled", {}),
    honoured("service_tier", "default", {}),
    honoured("metadata", {"a": "b"}, {}),
    honoured("user", "u", {}),
    honoured("safety_identifier", "u", {}),
    honoured("prompt_cache_key", "k", {}),
    honoured("store", False, {}),
    honoured("background", True, {}),
    honoured("stream", True, {}),
    honoured("stream_options", {"include_obfuscation": False}, {}, stream=True),
    pytest.param({"tools": [], "tool_choice": "auto", "parallel_tool_calls": True}, {}, id="no tools"),
]


@pytest.mark.parametrize(("change", "chat"), TABLE)
def test_the_engine_is_asked_for_the_same(change: dict[str, Any], chat: dict[str, Any]) -> None:
    assert sent(change) == chat
    checked_response(snapshot(change))


@pytest.mark.honours("responses", "model", "input")
def test_every_parameter_that_is_taken_is_in_the_table_above() -> None:
    shown = {name for case in TABLE for name in case.values[0]}
    assert set(ResponseRequest.model_fields) - shown == {"model", "input", "previous_response_id"}
    assert sent({}) == {}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.refuses("responses", name))
        for name in sorted(UNSUPPORTED_RESPONSES)
        if "." not in name and "[" not in name
    ],
)
def test_null_is_the_default_even_where_a_parameter_is_refused(name: str) -> None:
    assert sent({name: None}) == {}
    with pytest.raises(ApiError, match="unsupported_parameter") as caught:
        sent({name: "x"})
    assert caught.value.param == name
    assert UNSUPPORTED_RESPONSES[name] in caught.value.message


def test_null_is_the_default_everywhere() -> None:
    optional = [name for name, field in ResponseRequest.model_fields.items() if not field.is_required()]
    assert sent(dict.fromkeys({*optional} - {"input"})) == {}
    nested = {
        "text": {"format": None, "verbosity": None},
        "reasoning": dict.fromkeys(("effort", "summary", "generate_summary", "mode", "context")),
    }
    assert sent(nested) == {}
    bare = {"type": "function", "name": "f", "strict": None, "description": None, "defer_loading": None}
    assert sent({"tools": [bare]})["tools"] == [{"type": "function", "function": {"name": "f"}}]
    text = {"type": "json_schema", "name": "n", "schema": SCHEMA, "strict": None, "description": None}
    assert sent({"text": {"format": text}})["response_format"]["json_schema"] == {
        "name": "n",
        "schema": SCHEMA,
    }


def snapshot(change: dict[str, Any]) -> dict[str, Any]:
    checked = validate_response_body({**BODY, **change})
    return ResponseAssembly(checked, response_id="resp_1", created_at=5, model="m").snapshot()


def test_the_response_repeats_what_was_asked_for() -> None:
    asked = {
        "instructions": "be brief",
        "max_output_tokens": 5,
        "metadata": {"a": "b"},
        "parallel_tool_calls": False,
        "previous_response_id": "resp_0",
        "prompt_cache_key": "k",
        "safety_identifier": "s",
        "store": True,
        "temperature": 0.5,
        "text": {"format": {**FORMAT, "description": "d"}, "verbosity": "medium"},
        "tool_choice": {"type": "function", "name": "f"},
        "tools": [TOOL],
        "top_logprobs": 2,
        "top_p": 0.5,
        "truncation": "disabled",
        "user": "u",
        "background": True,
    }
    response = snapshot({**asked, "include": [LOGPROBS], "reasoning": {"effort": "high"}})
    checked_response(response)
    assert {name: response[name] for name in asked} == asked
    assert response["reasoning"] == {"effort": "high", "summary": None}
    assert (response["id"], response["object"], response["status"]) == ("resp_1", "response", "queued")


def test_the_response_names_the_defaults_that_are_known() -> None:
    response = snapshot({"tools": [OTHER]})
    checked_response(response)
    assert (response["tool_choice"], response["parallel_tool_calls"]) == ("auto", True)
    assert response["text"] == {"format": {"type": "text"}, "verbosity": "medium"}
    assert (response["truncation"], response["service_tier"]) == ("disabled", "default")
    assert (response["metadata"], response["store"], response["background"]) == ({}, True, False)
    # The model's own, which only its engine knows.
    assert (response["temperature"], response["top_p"]) == (None, None)
    nothing = {"description": None, "parameters": None, "strict": None}
    assert response["tools"] == [{**OTHER, **nothing}]


@pytest.mark.parametrize(
    ("change", "streamed", "background", "stored", "continues"),
    [
        ({}, False, False, True, False),
        ({"stream": True, "store": False}, True, False, False, False),
        ({"background": True}, False, True, True, True),
        ({"stream": True, "stream_options": {"on_disconnect": "continue"}}, True, False, True, True),
        ({"stream": True, "stream_options": {"on_disconnect": "cancel"}}, True, False, True, False),
    ],
)
def test_what_is_asked_of_the_platform_is_kept_apart(
    change: dict[str, Any], streamed: bool, background: bool, stored: bool, continues: bool
) -> None:
    checked = validate_response_body({**BODY, **change})
    kept = (checked.is_streamed, checked.is_background, checked.is_stored, checked.outlives_client)
    assert kept == (streamed, background, stored, continues)
    assert checked.chat().streamed
