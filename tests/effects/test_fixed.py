"""Parameters without effect by definition, and parameters that are rejected by name."""

from __future__ import annotations

from typing import Any

import pytest

from api.openai.schemas.parameters import UNSUPPORTED_CHAT, UNSUPPORTED_COMPLETIONS
from tests.effects.endpoints import PLAIN, Endpoints, Json

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
def test_labels_and_only_supported_values_change_nothing(ask: Endpoints) -> None:
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
def test_a_value_without_effect_is_rejected_by_name(ask: Endpoints, name: str, value: Any) -> None:
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
def test_an_unsupported_parameter_is_rejected_by_name_with_the_reason(
    ask: Endpoints, path: str, name: str
) -> None:
    fields: Json = {**PLAIN} if path.startswith("chat") else {"prompt": "The sea"}
    error = ask.refusal(path, **fields, **{name: {"any": "thing"}})
    assert (error["code"], error["param"]) == ("unsupported_parameter", name)
    assert (UNSUPPORTED_CHAT if path.startswith("chat") else UNSUPPORTED_COMPLETIONS)[name] in error[
        "message"
    ]


@pytest.mark.criterion("1.1")
@pytest.mark.refuses("completions", "best_of")
def test_best_of_above_n_is_rejected(ask: Endpoints) -> None:
    error = ask.refusal("completions", prompt="The sea", best_of=3, n=2)
    assert (error["code"], error["param"]) == ("unsupported_value", "best_of")
