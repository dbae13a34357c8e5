"""Valid Responses requests: the chat request for the engine, and the parameters that the response repeats."""

from __future__ import annotations

import json
from typing import Any

import pytest

from api.openai.responses.events.numbered_events import ResponseAssembly
from api.openai.responses.requests import validate_response_body
from api.openai.responses.schemas.request import LOGPROBS, ResponseRequest
from api.openai.schemas.policies import refusals
from tests.sdk_validation import parse_response

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
CHAT_OTHER = {"type": "function", "function": {"name": "g", "strict": False}}
BOTH = {"tools": [CHAT_TOOL, CHAT_OTHER]}


def engine_fields(change: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters for the engine beyond those that it always receives."""
    chat = validate_response_body({**BODY, **change}).chat()
    body: dict[str, Any] = json.loads(chat.engine_body(model="canonical", cache_salt="s"))
    assert ALWAYS.keys() <= body.keys()
    return {name: value for name, value in body.items() if ALWAYS.get(name) != value}


def honours(name: str, value: Any, chat: dict[str, Any], **more: Any) -> Any:
    return pytest.param({name: value, **more}, chat, marks=pytest.mark.honours("responses", name), id=name)


TABLE = [
    honours("instructions", "be brief", {"messages": [{"role": "system", "content": "be brief"}, USER]}),
    honours("max_output_tokens", 5, {"max_completion_tokens": 5}),
    honours("temperature", 0, {"temperature": 0}),
    honours("top_p", 0.5, {"top_p": 0.5}),
    honours("include", [LOGPROBS], {"logprobs": True, "top_logprobs": 0}),
    honours("top_logprobs", 3, {"logprobs": True, "top_logprobs": 3}, include=[LOGPROBS]),
    honours("text", {"format": {"type": "json_object"}}, {"response_format": {"type": "json_object"}}),
    honours(
        "text",
        {"format": FORMAT, "verbosity": "medium"},
        {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "n", "schema": SCHEMA, "strict": True},
            }
        },
    ),
    honours("reasoning", {"effort": "low", "mode": "standard"}, {"reasoning_effort": "low"}),
    honours("reasoning", {"context": "auto"}, {}),
    honours("tools", [TOOL, OTHER], BOTH),
    honours("parallel_tool_calls", False, {**BOTH, "parallel_tool_calls": False}, tools=[TOOL, OTHER]),
    honours("tool_choice", "required", {**BOTH, "tool_choice": "required"}, tools=[TOOL, OTHER]),
    honours(
        "tool_choice",
        {"type": "function", "name": "g"},
        {**BOTH, "tool_choice": {"type": "function", "function": {"name": "g"}}},
        tools=[TOOL, OTHER],
    ),
    honours(
        "tool_choice",
        {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "g"}]},
        {"tools": [CHAT_OTHER], "tool_choice": "required"},
        tools=[TOOL, OTHER],
    ),
    honours("stop", ["a"], {"stop": ["a"]}),
    honours("seed", -2, {"seed": -2}),
    honours("presence_penalty", 1, {"presence_penalty": 1}),
    honours("frequency_penalty", 1.5, {"frequency_penalty": 1.5}),
    honours("logit_bias", {"5": -100}, {"logit_bias": {"5": -100}}),
    honours("top_k", 5, {"top_k": 5}),
    honours("min_p", 0.1, {"min_p": 0.1}),
    honours("repetition_penalty", 1.1, {"repetition_penalty": 1.1}),
    honours("min_tokens", 2, {"min_tokens": 2}),
    honours("ignore_eos", True, {"ignore_eos": True}),
    honours("stop_token_ids", [5], {"stop_token_ids": [5]}),
    honours("bad_words", ["a"], {"bad_words": ["a"]}),
    honours("allowed_token_ids", [5], {"allowed_token_ids": [5]}),
    honours("skip_special_tokens", False, {"skip_special_tokens": False}),
    honours("spaces_between_special_tokens", False, {"spaces_between_special_tokens": False}),
    honours("include_stop_str_in_output", True, {"include_stop_str_in_output": True}),
    honours("add_special_tokens", True, {"add_special_tokens": True}),
    honours("structured_outputs", {"choice": ["a"]}, {"structured_outputs": {"choice": ["a"]}}),
    honours("chat_template_kwargs", {"k": 1}, {"chat_template_kwargs": {"k": 1}}),
    honours("include_reasoning", False, {"include_reasoning": False}),
    # Without effect by definition.
    honours("truncation", "auto", {}),
    honours("service_tier", "flex", {}),
    honours("text", {"verbosity": "low"}, {}),
    honours("reasoning", {"summary": "auto", "generate_summary": "detailed"}, {}),
    honours("include", ["reasoning.encrypted_content"], {}),
    honours("client_metadata", {"a": {"b": 1}}, {}),
    honours("context_management", [{"type": "compaction"}], {}),
    honours("max_tool_calls", 3, {}),
    honours("prompt_cache_retention", "24h", {}),
    honours("prompt_cache_options", {"mode": "explicit"}, {}),
    honours("thinking_token_budget", 5, {"thinking_token_budget": 5}),
    honours("metadata", {"a": "b"}, {}),
    honours("user", "u", {}),
    honours("safety_identifier", "u", {}),
    honours("prompt_cache_key", "k", {}),
    honours("store", False, {}),
    honours("background", True, {}),
    honours("stream", True, {}),
    honours("stream_options", {"include_obfuscation": True, "include_usage": True}, {}, stream=True),
    pytest.param({"tools": [], "tool_choice": "auto", "parallel_tool_calls": True}, {}, id="no tools"),
]


@pytest.mark.parametrize(("change", "chat"), TABLE)
def test_a_parameter_reaches_the_engine(change: dict[str, Any], chat: dict[str, Any]) -> None:
    assert engine_fields(change) == chat
    parse_response(snapshot(change))


@pytest.mark.honours("responses", "model", "input")
def test_every_supported_parameter_is_in_the_table_above() -> None:
    table_names = {name for case in TABLE for name in case.values[0]}
    supported_names = set(ResponseRequest.model_fields) - set(refusals(ResponseRequest))
    assert supported_names - table_names == {"model", "input", "previous_response_id"}
    assert engine_fields({}) == {}


def test_null_is_the_default_everywhere() -> None:
    optional = [name for name, field in ResponseRequest.model_fields.items() if not field.is_required()]
    assert engine_fields(dict.fromkeys({*optional} - {"input"})) == {}
    nested_names = {
        "text": {"format": None, "verbosity": None},
        "reasoning": dict.fromkeys(("effort", "summary", "generate_summary", "mode", "context")),
    }
    assert engine_fields(nested_names) == {}
    bare = {"type": "function", "name": "f", "strict": None, "description": None, "defer_loading": None}
    function = {"name": "f", "strict": False}
    assert engine_fields({"tools": [bare]})["tools"] == [{"type": "function", "function": function}]
    text = {"type": "json_schema", "name": "n", "schema": SCHEMA, "strict": None, "description": None}
    assert engine_fields({"text": {"format": text}})["response_format"]["json_schema"] == {
        "name": "n",
        "schema": SCHEMA,
    }


def snapshot(change: dict[str, Any]) -> dict[str, Any]:
    plan = validate_response_body({**BODY, **change})
    return ResponseAssembly(plan, response_id="resp_1", created_at=5, model="m").snapshot()


def test_the_response_repeats_the_parameters_of_the_request() -> None:
    parameters = {
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
    response = snapshot({**parameters, "include": [LOGPROBS], "reasoning": {"effort": "high"}})
    parse_response(response)
    assert {name: response[name] for name in parameters} == parameters
    assert response["reasoning"] == {"effort": "high", "summary": None}
    assert (response["id"], response["object"], response["status"]) == ("resp_1", "response", "queued")


@pytest.mark.case("clients.25")
def test_the_response_names_the_defaults_of_the_platform() -> None:
    response = snapshot({"tools": [OTHER]})
    parse_response(response)
    assert (response["tool_choice"], response["parallel_tool_calls"]) == ("auto", True)
    assert response["text"] == {"format": {"type": "text"}, "verbosity": "medium"}
    assert (response["truncation"], response["service_tier"]) == ("disabled", "default")
    assert (response["metadata"], response["store"], response["background"]) == ({}, True, False)
    assert (response["temperature"], response["top_p"]) == (1.0, 1.0)
    assert (response["presence_penalty"], response["frequency_penalty"]) == (0.0, 0.0)
    nothing = {"description": None, "parameters": None, "strict": False}
    assert response["tools"] == [{**OTHER, **nothing}]


@pytest.mark.parametrize(
    ("change", "is_streamed", "is_background", "is_stored", "outlives_client"),
    [
        ({}, False, False, True, False),
        ({"stream": True, "store": False}, True, False, False, False),
        ({"background": True}, False, True, True, True),
        ({"stream": True, "stream_options": {"on_disconnect": "continue"}}, True, False, True, True),
        ({"stream": True, "stream_options": {"on_disconnect": "cancel"}}, True, False, True, False),
    ],
)
def test_the_plan_has_the_options_for_the_platform(
    change: dict[str, Any], is_streamed: bool, is_background: bool, is_stored: bool, outlives_client: bool
) -> None:
    plan = validate_response_body({**BODY, **change})
    options = (plan.is_streamed, plan.is_background, plan.is_stored, plan.outlives_client)
    assert options == (is_streamed, is_background, is_stored, outlives_client)
    assert plan.chat().is_streamed
