"""Labels and hints: accepted with every value of OpenAI's API, kept from engines, reported if withheld."""

from __future__ import annotations

import json
from typing import Any

import pytest

from api.openai.errors.base import ApiError
from api.openai.schemas.chat import ChatRequest
from api.openai.schemas.policies import Fixed, Hint, Label, declarations
from api.openai.validation.requests import validate_chat_body, validate_completion_body

CHAT: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
COMPLETION: dict[str, Any] = {"model": "m", "prompt": "hello"}
TOOL: dict[str, Any] = {"type": "function", "function": {"name": "f"}}

LABELS: dict[str, Any] = {
    "user": "user-7",
    "safety_identifier": "user-7",
    "prompt_cache_key": "group-7",
    "metadata": {"ticket": "7"},
    "modalities": ["text"],
}
# Values that are in effect anyway, and values that have no effect.
HINTS: dict[str, tuple[list[Any], list[Any]]] = {
    "store": ([False, None], [True]),
    "verbosity": (["medium"], ["low", "high"]),
    "prompt_cache_retention": ([], ["in_memory", "24h"]),
    "prompt_cache_options": ([], [{"mode": "explicit"}]),
    "prediction": ([], [{"type": "content", "content": "x"}]),
}


def engine_body(validate: Any, body: dict[str, Any]) -> dict[str, Any]:
    return dict(json.loads(validate(body).engine_body(model="m", cache_salt="s")))


def names(**parameters: Any) -> tuple[str, ...]:
    """Return the names that a chat request reports as having no effect."""
    return validate_chat_body({**CHAT, **parameters}).names_without_effect


def test_every_label_and_hint_is_tested_here() -> None:
    ineffective = {
        each.name for each in declarations(ChatRequest) if isinstance(each.policy, Label | Hint | Fixed)
    }
    assert ineffective == {*LABELS, *HINTS}


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.honours("chat", n)) for n in LABELS])
def test_a_label_is_accepted_and_not_forwarded(name: str) -> None:
    assert engine_body(validate_chat_body, {**CHAT, name: LABELS[name]}) == engine_body(
        validate_chat_body, CHAT
    )
    assert names(**{name: LABELS[name]}) == ()


@pytest.mark.case("clients.7")
@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.honours("chat", n)) for n in HINTS])
def test_a_hint_is_accepted_with_every_value_and_reported_if_it_has_no_effect(name: str) -> None:
    satisfied_values, withheld = HINTS[name]
    for value in (*satisfied_values, *withheld):
        assert engine_body(validate_chat_body, {**CHAT, name: value}) == engine_body(validate_chat_body, CHAT)
        assert names(**{name: value}) == ((name,) if value in withheld else ())


@pytest.mark.case("clients.7")
@pytest.mark.parametrize(
    ("parameters", "reported_names"),
    [
        ({"stop": []}, ()),
        ({"top_logprobs": 0}, ()),
        ({"tools": []}, ()),
        ({"tool_choice": "auto"}, ()),
        ({"tool_choice": "none"}, ()),
        ({"parallel_tool_calls": True}, ()),
        ({"parallel_tool_calls": False}, ()),
        ({"functions": [], "function_call": "auto"}, ()),
        ({"stream_options": None}, ()),
        ({"stream_options": {}}, ()),
        ({"stream_options": {"include_usage": False}}, ()),
        ({"stream_options": {"include_obfuscation": False}}, ()),
        ({"stream_options": {"include_obfuscation": True}}, ("stream_options.include_obfuscation",)),
        ({"tools": [{"type": "custom", "custom": {"name": "c"}}]}, ("tools[custom]",)),
    ],
)
def test_what_asks_for_nothing_is_accepted_and_not_forwarded(
    parameters: dict[str, Any], reported_names: tuple[str, ...]
) -> None:
    assert engine_body(validate_chat_body, {**CHAT, **parameters}) == engine_body(validate_chat_body, CHAT)
    assert names(**parameters) == reported_names


@pytest.mark.case("clients.7")
def test_cache_control_of_parts_and_tools_is_not_forwarded() -> None:
    part = {"type": "text", "text": "hello", "cache_control": {"type": "ephemeral"}}
    tool = {**TOOL, "cache_control": {"type": "ephemeral"}}
    body = {**CHAT, "messages": [{"role": "user", "content": [part]}], "tools": [tool]}
    engine_fields = engine_body(validate_chat_body, body)
    assert engine_fields["messages"] == [{"role": "user", "content": [{"type": "text", "text": "hello"}]}]
    assert engine_fields["tools"] == [TOOL]
    assert validate_chat_body(body).names_without_effect == ("tools.cache_control",)


@pytest.mark.case("clients.6")
def test_a_tool_that_is_not_offered_is_not_shown_to_the_model_and_cannot_be_forced() -> None:
    custom = {"type": "custom", "custom": {"name": "c"}}
    assert engine_body(validate_chat_body, {**CHAT, "tools": [custom, TOOL]})["tools"] == [TOOL]
    for choice in ("required", {"type": "function", "function": {"name": "c"}}):
        with pytest.raises(ApiError) as excinfo:
            validate_chat_body({**CHAT, "tools": [custom], "tool_choice": choice})
        assert (excinfo.value.code, excinfo.value.param) == ("invalid_value", "tool_choice")


def test_a_modality_that_is_not_generated_is_rejected() -> None:
    with pytest.raises(ApiError) as excinfo:
        validate_chat_body({**CHAT, "modalities": ["text", "audio"]})
    assert (excinfo.value.code, excinfo.value.param) == ("unsupported_value", "modalities")


@pytest.mark.honours("completions", "user")
def test_the_user_of_a_completion_is_not_forwarded() -> None:
    body = engine_body(validate_completion_body, {**COMPLETION, "user": "user-7"})
    assert body == engine_body(validate_completion_body, COMPLETION)


@pytest.mark.honours("completions", "best_of")
def test_best_of_is_accepted_only_if_it_equals_n() -> None:
    body = engine_body(validate_completion_body, {**COMPLETION, "n": 2, "best_of": 2})
    assert body == engine_body(validate_completion_body, {**COMPLETION, "n": 2})
    with pytest.raises(ApiError) as excinfo:
        validate_completion_body({**COMPLETION, "n": 2, "best_of": 3})
    assert (excinfo.value.code, excinfo.value.param) == ("unsupported_value", "best_of")
