"""What a valid request is, and what the engine is given of it."""

from __future__ import annotations

import json
from typing import Any, get_type_hints

import pytest
from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming as SdkChat
from openai.types.completion_create_params import CompletionCreateParamsNonStreaming as SdkCompletion

from api.openai.errors.base import ApiError
from api.openai.schemas.chat import ChatRequest
from api.openai.schemas.completions import CompletionRequest
from api.openai.schemas.parameters import UNSUPPORTED_CHAT, UNSUPPORTED_COMPLETIONS, WITHOUT_EFFECT
from api.openai.validation.requests import (
    validate_chat_body,
    validate_completion_body,
    validate_embedding_body,
)

USER = {"role": "user", "content": "hi"}
CHAT: dict[str, Any] = {"model": "m", "messages": [USER]}


def sent(body: dict[str, Any]) -> dict[str, Any]:
    """What the engine gets for a chat body."""
    loaded: dict[str, Any] = json.loads(
        validate_chat_body(body).engine_body(model="canonical", cache_salt="s")
    )
    return loaded


@pytest.mark.criterion("1.1")
def test_every_parameter_of_the_sdk_is_honoured_or_refused_by_name() -> None:
    chat = set(get_type_hints(SdkChat))
    assert len(chat) > 30
    assert chat <= set(ChatRequest.model_fields) | set(UNSUPPORTED_CHAT)
    completion = set(get_type_hints(SdkCompletion))
    assert completion <= set(CompletionRequest.model_fields) | set(UNSUPPORTED_COMPLETIONS)
    assert not set(ChatRequest.model_fields) & set(UNSUPPORTED_CHAT)
    assert not set(CompletionRequest.model_fields) & set(UNSUPPORTED_COMPLETIONS)


@pytest.mark.criterion("1.1")
def test_every_parameter_that_is_kept_from_the_engine_says_why() -> None:
    kept = set(ChatRequest.model_fields) | set(CompletionRequest.model_fields)
    assert set(WITHOUT_EFFECT) <= kept
    full = {**CHAT, "user": "u", "metadata": {"a": "b"}, "store": False, "service_tier": "auto"}
    full |= {"safety_identifier": "s", "prompt_cache_key": "k", "modalities": ["text"], "verbosity": "medium"}
    assert set(sent(full)) == {"model", "messages", "cache_salt"}


def test_the_engine_gets_everything_else_as_it_came() -> None:
    asked = {
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
    assert sent({**CHAT, "response_format": schema})["response_format"] == schema
    assert sent(asked) == {**asked, "model": "canonical", "cache_salt": "s"}


def test_the_engine_is_told_what_openai_means_where_it_means_something_else() -> None:
    told = sent({**CHAT, "seed": -1, "top_p": 0, "temperature": 0, "n": 2})
    assert told["seed"] == 2**63 - 1
    assert 0 < told["top_p"] < 1e-6
    assert (told["temperature"], told["top_k"], told["n"]) == (1.0, 1, 2)
    assert sent({**CHAT, "temperature": 0, "n": 1})["temperature"] == 0


def test_null_is_the_default_for_every_optional_parameter() -> None:
    optional = [name for name, field in ChatRequest.model_fields.items() if not field.is_required()]
    nulls = dict.fromkeys([*optional, *UNSUPPORTED_CHAT])
    assert set(sent({**CHAT, **nulls})) == {"model", "messages", "cache_salt"}
    names = [name for name, field in CompletionRequest.model_fields.items() if not field.is_required()]
    validate_completion_body({"model": "m", "prompt": "x", **dict.fromkeys([*names, "suffix"])})


def test_answers_can_be_sent_back_as_history() -> None:
    answer = {
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
    messages = sent({**CHAT, "messages": [USER, answer, tool]})["messages"]
    assert messages[1] == {"role": "assistant", "content": None, "tool_calls": answer["tool_calls"]}
    assert messages[2] == tool
    empty = {"role": "assistant", "content": "", "tool_calls": answer["tool_calls"], "annotations": []}
    assert sent({**CHAT, "messages": [USER, empty]})["messages"][1]["content"] == ""


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
def test_all_roles_and_forms_of_content_are_taken_unchanged(message: dict[str, Any]) -> None:
    assert sent({**CHAT, "messages": [message]})["messages"] == [message]


@pytest.mark.parametrize(
    "arguments", ["", "no JSON", '"\\ud83d\\ude00"', '{"a": "' + "9" * 5000 + '"}', "[\\ud800"]
)
def test_arguments_that_are_no_json_or_hold_whole_pairs_are_taken(arguments: str) -> None:
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": arguments}}
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    assert sent({**CHAT, "messages": [USER, message]})["messages"][1] == message


def test_unicode_reaches_the_engine_as_utf8() -> None:
    text = "你好 안녕 مرحبا 👩‍👩‍👧 \u2028"
    body = validate_chat_body({**CHAT, "messages": [{"role": "user", "content": text}]})
    assert text.encode() in body.engine_body(model="m", cache_salt="s")


def test_the_likeliest_token_alone_can_be_asked_for() -> None:
    assert 0 < sent({**CHAT, "top_p": 0})["top_p"] < 1e-6


def test_several_greedy_answers_are_drawn_from_the_likeliest_token_alone() -> None:
    greedy = sent({**CHAT, "temperature": 0, "n": 3, "top_p": 0.5, "seed": 7})
    assert (greedy["temperature"], greedy["top_k"], greedy["n"], greedy["seed"]) == (1.0, 1, 3, 7)
    assert 0 < greedy["top_p"] < 1e-6
    for unchanged in ({"temperature": 0}, {"temperature": 0, "n": 1}, {"temperature": 0.5, "n": 3}, {"n": 3}):
        assert sent({**CHAT, **unchanged}) == {**sent(CHAT), **unchanged}


@pytest.mark.parametrize(
    ("prompt", "lengths"),
    [("a", ()), (["a", "b"], ()), ([1, 2], (2,)), ([[1], [2, 3]], (1, 2))],
)
def test_prompts_of_token_ids_have_known_lengths(prompt: Any, lengths: tuple[int, ...]) -> None:
    assert validate_completion_body({"model": "m", "prompt": prompt}).token_prompts == lengths
    assert validate_embedding_body({"model": "m", "input": prompt}).token_prompts == lengths


@pytest.mark.criterion("1.2")
@pytest.mark.parametrize("prompt", ["a", ["a", "b"], [1, 2], [[1], [2, 3]]])
def test_prompts_are_text_or_token_ids_one_or_several(prompt: Any) -> None:
    checked = validate_completion_body({"model": "m", "prompt": prompt, "n": 2, "best_of": 2})
    several = isinstance(prompt, list) and not isinstance(prompt[0], int)
    assert checked.choices == (4 if several else 2)
    assert checked.completion_limit == 16
    assert json.loads(checked.engine_body(model="m", cache_salt="s"))["prompt"] == prompt


def test_an_echo_without_generation_is_a_request() -> None:
    checked = validate_completion_body({"model": "m", "prompt": "a", "max_tokens": 0, "echo": True})
    assert checked.completion_limit == 0


@pytest.mark.parametrize("key", ["chat_template", "tokenize", "messages", "tools", "__class__", "a b", "_x"])
def test_template_variables_can_not_replace_the_renderers_own(key: str) -> None:
    with pytest.raises(ApiError, match="unsupported_parameter") as caught:
        sent({**CHAT, "chat_template_kwargs": {key: "x"}})
    assert caught.value.param == f"chat_template_kwargs.{key}"


def test_the_cost_grows_with_prompt_limit_and_choices() -> None:
    small = validate_chat_body({**CHAT, "max_tokens": 10})
    large = validate_chat_body({**CHAT, "max_tokens": 10, "n": 4})
    unlimited = validate_chat_body(CHAT)
    assert small.cost_tokens(400, 4096) == 110
    assert large.cost_tokens(400, 4096) == 140
    assert unlimited.cost_tokens(400, 4096) == 4096
