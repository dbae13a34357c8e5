"""Parameters that by definition have no effect stay in the gateway."""

from __future__ import annotations

import json
from typing import Any

import pytest

from api.openai.errors.base import ApiError
from api.openai.schemas.parameters import WITHOUT_EFFECT
from api.openai.validation.requests import validate_chat_body, validate_completion_body

CHAT: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
COMPLETION: dict[str, Any] = {"model": "m", "prompt": "hello"}

INEFFECTIVE: dict[str, Any] = {
    "user": "user-7",
    "safety_identifier": "user-7",
    "prompt_cache_key": "group-7",
    "metadata": {"ticket": "7"},
    "store": False,
    "service_tier": "default",
    "modalities": ["text"],
    "verbosity": "medium",
}
UNSUPPORTED_CHAT_VALUES: dict[str, Any] = {
    "store": True,
    "service_tier": "priority",
    "modalities": ["text", "audio"],
    "verbosity": "low",
}


def engine_body(validate: Any, body: dict[str, Any]) -> dict[str, Any]:
    return dict(json.loads(validate(body).engine_body(model="m", cache_salt="s")))


def test_every_parameter_of_the_table_is_tested_here() -> None:
    assert {*INEFFECTIVE, "best_of"} == set(WITHOUT_EFFECT)


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.honours("chat", n)) for n in INEFFECTIVE])
def test_a_chat_parameter_without_effect_is_accepted_and_not_forwarded(name: str) -> None:
    assert engine_body(validate_chat_body, {**CHAT, name: INEFFECTIVE[name]}) == engine_body(
        validate_chat_body, CHAT
    )


@pytest.mark.parametrize("name", UNSUPPORTED_CHAT_VALUES)
def test_its_other_values_are_rejected_and_not_ignored(name: str) -> None:
    with pytest.raises(ApiError) as caught:
        validate_chat_body({**CHAT, name: UNSUPPORTED_CHAT_VALUES[name]})
    assert (caught.value.code, caught.value.param) == ("unsupported_value", name)


@pytest.mark.honours("completions", "user")
def test_the_user_of_a_completion_is_not_forwarded() -> None:
    body = engine_body(validate_completion_body, {**COMPLETION, "user": "user-7"})
    assert body == engine_body(validate_completion_body, COMPLETION)


@pytest.mark.honours("completions", "best_of")
def test_best_of_is_accepted_only_if_it_equals_n() -> None:
    body = engine_body(validate_completion_body, {**COMPLETION, "n": 2, "best_of": 2})
    assert body == engine_body(validate_completion_body, {**COMPLETION, "n": 2})
    with pytest.raises(ApiError) as caught:
        validate_completion_body({**COMPLETION, "n": 2, "best_of": 3})
    assert (caught.value.code, caught.value.param) == ("unsupported_value", "best_of")
