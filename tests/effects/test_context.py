"""All parts of a request besides its text count against the context, exactly."""

from __future__ import annotations

from typing import Any

import pytest

from tests.effects.endpoints import OTHER, WEATHER, Endpoints, Json

LIMIT = 1024


def _talk(words: int) -> list[Json]:
    return [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "the" + " the" * words}]


@pytest.mark.case("serving.32")
@pytest.mark.criterion("1.7")
@pytest.mark.parametrize(
    "extra_fields",
    [
        {"tools": [WEATHER], "tool_choice": "auto"},
        {"tools": [WEATHER, OTHER], "tool_choice": "none"},
        {
            "tools": [WEATHER],
            "reasoning_effort": "high",
            "chat_template_kwargs": {"tone": "friendly and warm"},
        },
        {"reasoning_effort": "low", "chat_template_kwargs": {"enable_thinking": False}},
        {"chat_template_kwargs": {"tone": "of the sea"}},
        {"add_generation_prompt": False},
    ],
)
@pytest.mark.parametrize("limit", [None, 30])
def test_other_parts_of_the_request_count_against_the_context(
    ask: Endpoints, extra_fields: dict[str, Any], limit: int | None
) -> None:
    short = ask.chat(messages=_talk(10), max_tokens=1, **{"chat_template_kwargs": {}, **extra_fields})
    words = LIMIT - short["usage"]["prompt_tokens"] + 10  # fills the context to its last token
    completion = limit or 1
    fields = {"messages": _talk(words - completion), "max_tokens": limit, **extra_fields}
    assert ask.post("chat/completions", fields).json()["usage"]["prompt_tokens"] == LIMIT - completion
    for more in (1, 7, 90):
        prompt = LIMIT - completion + more
        error = ask.refusal("chat/completions", **{**fields, "messages": _talk(words - completion + more)})
        assert (error["code"], error["param"]) == ("context_length_exceeded", "messages")
        detail = (
            f"you requested {prompt + completion} tokens "
            f"({prompt} in the messages, {completion} in the completion)"
        )
        if limit is None and prompt > LIMIT:
            detail = f"your messages resulted in {prompt} tokens"
        assert f"maximum context length is {LIMIT} tokens. However, {detail}." in error["message"]
