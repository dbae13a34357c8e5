"""Parameters that by definition change nothing in the answer stay in the gateway."""

from __future__ import annotations

import json
from typing import Any

import pytest

from api.openai.errors.base import ApiError
from api.openai.schemas.parameters import WITHOUT_EFFECT
from api.openai.validation.requests import validate_chat_body, validate_completion_body

CHAT: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
COMPLETION: dict[str, Any] = {"model": "m", "prompt": "hello"}

HARMLESS: dict[str, Any] = {
    "user": "user-7",
    "safety_identifier": "user-7",
    "prompt_cache_key": "group-7",
    "metadata": {"ticket": "7"},
    "store": False,
    "service_tier": "default",
    "modalities": ["text"],
    "verbosity": "medium",
}
OTHERWISE: dict[str, Any] = {
    "store": True,
    "service_tier": "priority",
    "modalities": ["text", "audio"],
    "verbosity": "low",
}


def engine_body(check: Any, body: dict[str, Any]) -> dict[str, Any]:
    return dict(json.loads(check(body).engine_body(model="m", cache_salt="s")))


def test_every_parameter_of_the_table_is_looked_at_here() -> None:
    assert {*HARMLESS, "best_of"} == set(WITHOUT_EFFECT)


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.honours("chat", n)) for n in HARMLESS])
def test_a_harmless_parameter_of_a_chat_is_taken_and_not_passed_on(name: str) -> None:
    assert engine_body(validate_chat_body, {**CHAT, name: HARMLESS[name]}) == engine_body(
        validate_chat_body, CHAT
    )


@pytest.mark.parametrize("name", OTHERWISE)
def test_its_other_values_are_refused_and_not_ignored(name: str) -> None:
    with pytest.raises(ApiError) as caught:
        validate_chat_body({**CHAT, name: OTHERWISE[name]})
    assert (caught.value.code, caught.value.param) == ("unsupported_value", name)


@pytest.mark.honours("completions", "user")
def test_a_completions_user_is_not_passed_on() -> None:
    body = engine_body(validate_completion_body, {**COMPLETION, "user": "user-7"})
    assert body == engine_body(validate_completion_body, COMPLETION)


@pytest.mark.honours("completions", "best_of")
def test_best_of_is_taken_where_it_is_what_n_returns_and_refused_elsewhere() -> None:
    body = engine_body(validate_completion_body, {**COMPLETION, "n": 2, "best_of": 2})
    assert body == engine_body(validate_completion_body, {**COMPLETION, "n": 2})
    with pytest.raises(ApiError) as caught:
        validate_completion_body({**COMPLETION, "n": 2, "best_of": 3})
    assert (caught.value.code, caught.value.param) == ("unsupported_value", "best_of")
