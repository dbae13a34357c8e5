"""Valid requests, and the bodies that the engine receives for them."""

from __future__ import annotations

import json
from typing import Any, get_type_hints

import pytest
from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming as SdkChat
from openai.types.completion_create_params import CompletionCreateParamsNonStreaming as SdkCompletion

from api.openai.errors.base import ApiError
from api.openai.schemas.chat import ChatRequest
from api.openai.schemas.completions import CompletionRequest
from api.openai.validation.requests import (
    validate_chat_body,
    validate_completion_body,
    validate_embedding_body,
)

USER = {"role": "user", "content": "hi"}
CHAT: dict[str, Any] = {"model": "m", "messages": [USER]}


def engine_body(body: dict[str, Any]) -> dict[str, Any]:
    """Return the engine's body for a chat request."""
    parsed_body: dict[str, Any] = json.loads(
        validate_chat_body(body).engine_body(model="canonical", cache_salt="s")
    )
    return parsed_body


@pytest.mark.criterion("1.1")
def test_every_parameter_of_the_sdk_is_supported_or_rejected_by_name() -> None:
    chat = set(get_type_hints(SdkChat))
    assert len(chat) > 30
    assert chat <= set(ChatRequest.model_fields)
    completion = set(get_type_hints(SdkCompletion))
    assert completion <= set(CompletionRequest.model_fields)


@pytest.mark.criterion("1.1")
def test_the_engine_receives_no_labels_and_hints() -> None:
    full = {**CHAT, "user": "u", "metadata": {"a": "b"}, "store": False, "service_tier": "auto"}
    full |= {"safety_identifier": "s", "prompt_cache_key": "k", "modalities": ["text"], "verbosity": "medium"}
    assert set(engine_body(full)) == {"model", "messages", "cache_salt"}


def test_the_engine_receives_all_other_parameters_unchanged() -> None:
    parameters = {
        **CHAT,
        "temperature": 0.7,
        "top_p": 0.9,
        "n": 2,
        "stop": ["a", "b"],
        "seed": -2,
        "max_completion_tokens": 5,
        "logit_bias": {"5": -100},
        "logprobs": True,
        "top_logprobs": 3,
        "stream": True,
        "stream_options": {"include_usage": True},
        "response_format": {"type": "text"},
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"$defs": {"a": [1, None]}}}}],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "parallel_tool_calls": False,
        "reasoning_effort": "low",
        "top_k": 5,
        "min_p": 0.1,
        "structured_outputs": {"choice": ["a"]},
        "chat_template_kwargs": {"enable_thinking": False},
    }
    schema = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}
    assert engine_body({**CHAT, "response_format": schema})["response_format"] == schema
    assert engine_body(parameters) == {**parameters, "model": "canonical", "cache_salt": "s"}


def test_values_that_vllm_interprets_differently_are_translated() -> None:
    engine_fields = engine_body({**CHAT, "seed": -1, "top_p": 0, "temperature": 0, "n": 2})
    assert engine_fields["seed"] == 2**63 - 1
    assert 0 < engine_fields["top_p"] < 1e-6
    assert (engine_fields["temperature"], engine_fields["top_k"], engine_fields["n"]) == (1.0, 1, 2)
    assert engine_body({**CHAT, "temperature": 0, "n": 1})["temperature"] == 0


def test_null_is_the_default_for_every_optional_parameter() -> None:
    optional = [name for name, field in ChatRequest.model_fields.items() if not field.is_required()]
    nulls = dict.fromkeys(optional)
    assert set(engine_body({**CHAT, **nulls})) == {"model", "messages", "cache_salt"}
    names = [name for name, field in CompletionRequest.model_fields.items() if not field.is_required()]
    validate_completion_body({"model": "m", "prompt": "x", **dict.fromkeys(names)})


def test_responses_can_be_sent_back_as_history() -> None:
    response = {
        "role": "assistant",
        "content": None,
        "refusal": None,
        "annotations": None,
        "audio": None,
        "function_call": None,
        "reasoning": None,
        "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
    }
    tool = {"role": "tool", "tool_call_id": "1", "content": [{"type": "text", "text": "4"}]}
    messages = engine_body({**CHAT, "messages": [USER, response, tool]})["messages"]
    assert messages[1] == {"role": "assistant", "content": None, "tool_calls": response["tool_calls"]}
    assert messages[2] == tool
    empty = {"role": "assistant", "content": "", "tool_calls": response["tool_calls"], "annotations": []}
    assert engine_body({**CHAT, "messages": [USER, empty]})["messages"][1]["content"] == ""


@pytest.mark.parametrize(
    "message",
    [
        {"role": "system", "content": "be brief", "name": "ops"},
        {"role": "developer", "content": [{"type": "text", "text": "be brief"}]},
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        {"role": "user", "content": ""},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]},
        {"role": "assistant", "refusal": "no"},
        {"role": "assistant", "content": "so", "reasoning_content": "because"},
    ],
)
def test_all_roles_and_forms_of_content_are_forwarded_unchanged(message: dict[str, Any]) -> None:
    assert engine_body({**CHAT, "messages": [message]})["messages"] == [message]


@pytest.mark.parametrize(
    "arguments", ["", "no JSON", '"\\ud83d\\ude00"', '{"a": "' + "9" * 5000 + '"}', "[\\ud800"]
)
def test_arguments_that_are_invalid_json_or_contain_surrogate_pairs_are_accepted(arguments: str) -> None:
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": arguments}}
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    assert engine_body({**CHAT, "messages": [USER, message]})["messages"][1] == message


def test_unicode_reaches_the_engine_as_utf8() -> None:
    text = "你好 안녕 مرحبا 👩‍👩‍👧 \u2028"
    body = validate_chat_body({**CHAT, "messages": [{"role": "user", "content": text}]})
    assert text.encode() in body.engine_body(model="m", cache_salt="s")


def test_a_top_p_of_zero_selects_the_likeliest_token() -> None:
    assert 0 < engine_body({**CHAT, "top_p": 0})["top_p"] < 1e-6


def test_several_greedy_choices_sample_from_the_likeliest_token_alone() -> None:
    body = engine_body({**CHAT, "temperature": 0, "n": 3, "top_p": 0.5, "seed": 7})
    assert (body["temperature"], body["top_k"], body["n"], body["seed"]) == (1.0, 1, 3, 7)
    assert 0 < body["top_p"] < 1e-6
    for fields in ({"temperature": 0}, {"temperature": 0, "n": 1}, {"temperature": 0.5, "n": 3}, {"n": 3}):
        assert engine_body({**CHAT, **fields}) == {**engine_body(CHAT), **fields}


@pytest.mark.parametrize(
    ("prompt", "lengths"),
    [("a", ()), (["a", "b"], ()), ([1, 2], (2,)), ([[1], [2, 3]], (1, 2))],
)
def test_the_lengths_of_prompts_of_token_ids_are_recorded(prompt: Any, lengths: tuple[int, ...]) -> None:
    assert validate_completion_body({"model": "m", "prompt": prompt}).token_prompt_lengths == lengths
    assert validate_embedding_body({"model": "m", "input": prompt}).token_prompt_lengths == lengths


@pytest.mark.criterion("1.2")
@pytest.mark.parametrize("prompt", ["a", ["a", "b"], [1, 2], [[1], [2, 3]]])
def test_a_request_has_one_or_several_prompts_of_text_or_token_ids(prompt: Any) -> None:
    request = validate_completion_body({"model": "m", "prompt": prompt, "n": 2, "best_of": 2})
    several = isinstance(prompt, list) and not isinstance(prompt[0], int)
    assert request.choices == (4 if several else 2)
    assert request.completion_limit == 16
    assert json.loads(request.engine_body(model="m", cache_salt="s"))["prompt"] == prompt


def test_an_echo_without_generation_is_valid() -> None:
    request = validate_completion_body({"model": "m", "prompt": "a", "max_tokens": 0, "echo": True})
    assert request.completion_limit == 0


@pytest.mark.parametrize("key", ["chat_template", "tokenize", "messages", "tools", "__class__", "a b", "_x"])
def test_template_variables_can_not_replace_the_renderers_own(key: str) -> None:
    with pytest.raises(ApiError, match="unsupported_parameter") as excinfo:
        engine_body({**CHAT, "chat_template_kwargs": {key: "x"}})
    assert excinfo.value.param == f"chat_template_kwargs.{key}"


def test_the_cost_grows_with_prompt_limit_and_choices() -> None:
    small = validate_chat_body({**CHAT, "max_tokens": 10})
    large = validate_chat_body({**CHAT, "max_tokens": 10, "n": 4})
    plain_request = validate_chat_body(CHAT)
    assert small.cost_tokens(400, 4096) == 110
    assert large.cost_tokens(400, 4096) == 140
    assert plain_request.cost_tokens(400, 4096) == 4096
