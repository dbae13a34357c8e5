"""Parameters that change nothing by definition, and those that are refused by name."""

from __future__ import annotations

from typing import Any

import pytest

from api.openai.schemas.parameters import UNSUPPORTED_CHAT, UNSUPPORTED_COMPLETIONS
from tests.effects.asking import PLAIN, Asking, Json

LABELS: Json = {
    "user": "ann",
    "safety_identifier": "ann",
    "prompt_cache_key": "k",
    "metadata": {"team": "sea"},
    "store": False,
    "service_tier": "auto",
    "modalities": ["text"],
    "verbosity": "medium",
}


@pytest.mark.criterion("1.1")
@pytest.mark.honours("chat", *LABELS)
@pytest.mark.honours("completions", "user")
def test_labels_and_the_only_value_there_is_change_nothing(ask: Asking) -> None:
    bare = ask.chat()["choices"][0]["message"]["content"]
    for name, value in LABELS.items():
        assert ask.chat(**{name: value})["choices"][0]["message"]["content"] == bare
    assert ask.text(user="ann") == ask.text()


@pytest.mark.criterion("1.1")
@pytest.mark.parametrize(
    ("name", "value"),
    [
        pytest.param(name, value, marks=pytest.mark.refuses("chat", name))
        for name, value in (
            ("store", True),
            ("service_tier", "priority"),
            ("modalities", ["text", "audio"]),
            ("verbosity", "low"),
            ("stream_options", {"include_obfuscation": True}),
        )
    ],
)
def test_a_value_that_would_be_ignored_is_refused_by_name(ask: Asking, name: str, value: Any) -> None:
    error = ask.refusal("chat/completions", **PLAIN, stream=True, **{name: value})
    assert error["code"] == "unsupported_value"
    assert error["param"].split(".")[0] == name


@pytest.mark.criterion("1.1")
@pytest.mark.parametrize(
    ("path", "name"),
    [
        pytest.param(path, name, marks=pytest.mark.refuses(endpoint, name))
        for path, endpoint, names in (
            ("chat/completions", "chat", UNSUPPORTED_CHAT),
            ("completions", "completions", UNSUPPORTED_COMPLETIONS),
        )
        for name in sorted(names)
    ],
)
def test_what_is_not_offered_is_refused_by_name_with_the_reason(ask: Asking, path: str, name: str) -> None:
    fields: Json = {**PLAIN} if path.startswith("chat") else {"prompt": "The sea"}
    error = ask.refusal(path, **fields, **{name: {"any": "thing"}})
    assert (error["code"], error["param"]) == ("unsupported_parameter", name)
    assert (UNSUPPORTED_CHAT if path.startswith("chat") else UNSUPPORTED_COMPLETIONS)[name] in error[
        "message"
    ]


@pytest.mark.criterion("1.1")
@pytest.mark.refuses("completions", "best_of")
def test_more_answers_generated_than_given_are_refused(ask: Asking) -> None:
    error = ask.refusal("completions", prompt="The sea", best_of=3, n=2)
    assert (error["code"], error["param"]) == ("unsupported_value", "best_of")
