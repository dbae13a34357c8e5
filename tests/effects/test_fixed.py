"""Parameters without effect by definition, and parameters that are rejected by name."""

from __future__ import annotations

import pytest

from api.openai.schemas.chat import ChatRequest
from api.openai.schemas.completions import CompletionRequest
from api.openai.schemas.policies import refusals
from tests.effects.endpoints import PLAIN, Endpoints, Json

LABELS: Json = {
    "user": "ann",
    "safety_identifier": "ann",
    "prompt_cache_key": "k",
    "metadata": {"team": "sea"},
    "store": True,
    "service_tier": "flex",
    "modalities": ["text"],
    "verbosity": "low",
    "prediction": {"type": "content", "content": "The sea"},
    "prompt_cache_retention": "24h",
    "prompt_cache_options": {"mode": "explicit"},
}


@pytest.mark.criterion("1.1")
@pytest.mark.honours("chat", *LABELS)
@pytest.mark.honours("completions", "user")
def test_labels_and_hints_change_nothing(ask: Endpoints) -> None:
    bare = ask.chat()["choices"][0]["message"]["content"]
    for name, value in LABELS.items():
        assert ask.chat(**{name: value})["choices"][0]["message"]["content"] == bare
    assert ask.text(user="ann") == ask.text()


@pytest.mark.criterion("1.1")
@pytest.mark.parametrize(
    ("path", "name"),
    [
        pytest.param(path, name, marks=pytest.mark.refuses(endpoint, name))
        for path, endpoint, names in (
            ("chat/completions", "chat", refusals(ChatRequest)),
            ("completions", "completions", refusals(CompletionRequest)),
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
    schema = ChatRequest if path.startswith("chat") else CompletionRequest
    assert refusals(schema)[name] in error["message"]


@pytest.mark.criterion("1.1")
@pytest.mark.refuses("completions", "best_of")
def test_best_of_above_n_is_rejected(ask: Endpoints) -> None:
    error = ask.refusal("completions", prompt="The sea", best_of=3, n=2)
    assert (error["code"], error["param"]) == ("unsupported_value", "best_of")
