"""Prompts of token ids are checked against the context length before dispatch."""

from __future__ import annotations

from typing import Any

import pytest

from api.gateway.app import Gateway
from tests.gateway.conftest import Keys
from tests.gateway.harness.calls import COMPLETIONS, EMBEDDINGS, post
from tests.gateway.harness.scripted import ScriptedClient
from tests.gateway.harness.scripts import body_script

LIMIT = 64


def _ids(count: int) -> list[int]:
    return [5] * count


@pytest.mark.case("serving.32")
@pytest.mark.criterion("1.7")
@pytest.mark.parametrize(
    ("path", "changes", "explanation"),
    [
        (COMPLETIONS, {"prompt": _ids(65)}, "your prompt resulted in 65 tokens"),
        (COMPLETIONS, {"prompt": _ids(64)}, "65 tokens (64 in the prompt, 1 in the completion)"),
        (
            COMPLETIONS,
            {"prompt": _ids(63), "max_tokens": 2},
            "65 tokens (63 in the prompt, 2 in the completion)",
        ),
        (
            COMPLETIONS,
            {"prompt": _ids(1), "max_tokens": 64},
            "65 tokens (1 in the prompt, 64 in the completion)",
        ),
        (
            COMPLETIONS,
            {"prompt": _ids(90), "max_tokens": 9},
            "99 tokens (90 in the prompt, 9 in the completion)",
        ),
        (
            COMPLETIONS,
            {"prompt": _ids(2), "max_tokens": 10**6},
            "1000002 tokens (2 in the prompt, 1000000 in",
        ),
        (COMPLETIONS, {"prompt": [_ids(3), _ids(70)]}, "your prompt resulted in 70 tokens"),
        (
            COMPLETIONS,
            {"prompt": [_ids(3), _ids(60)], "max_tokens": 8, "n": 2},
            "68 tokens (60 in the prompt, 8",
        ),
        (COMPLETIONS, {"prompt": _ids(64), "max_tokens": 0, "echo": True}, "65 tokens (64 in the prompt, 1"),
        (COMPLETIONS, {"prompt": _ids(64), "stream": True}, "65 tokens (64 in the prompt, 1"),
        (EMBEDDINGS, {"input": _ids(65)}, "your input resulted in 65 tokens"),
        (EMBEDDINGS, {"input": [_ids(1), _ids(66)]}, "your input resulted in 66 tokens"),
    ],
)
async def test_an_overflow_is_rejected_with_both_counts(
    gateway: Gateway, keys: Keys, client: ScriptedClient, path: str, changes: dict[str, Any], explanation: str
) -> None:
    client.max_model_len = LIMIT
    reply = await post(gateway, keys.acme, path, **changes)
    error = reply.error
    part = "input" if path == EMBEDDINGS else "prompt"
    assert (reply.status, error["code"], error["param"]) == (400, "context_length_exceeded", part)
    assert error["message"].startswith("This model's maximum context length is 64 tokens. However, you")
    assert explanation in error["message"]
    assert client.calls == []


@pytest.mark.parametrize(
    ("path", "changes"),
    [
        (COMPLETIONS, {"prompt": _ids(63)}),  # OpenAI's default of 16 completion tokens is not required
        (COMPLETIONS, {"prompt": _ids(63), "max_tokens": 1}),
        (COMPLETIONS, {"prompt": _ids(1), "max_tokens": 63}),
        (COMPLETIONS, {"prompt": [_ids(60), _ids(60)], "max_tokens": 4, "n": 8}),
        (COMPLETIONS, {"prompt": _ids(63), "max_tokens": 0, "echo": True}),
        (COMPLETIONS, {"prompt": "a text whose tokens only the worker can count " * 40}),
        (EMBEDDINGS, {"input": _ids(64)}),
        (EMBEDDINGS, {"input": [_ids(64)] * 10}),
    ],
)
async def test_a_request_that_just_fits_is_dispatched(
    gateway: Gateway, keys: Keys, client: ScriptedClient, path: str, changes: dict[str, Any]
) -> None:
    client.max_model_len = LIMIT
    client.scripts = [body_script()]
    reply = await post(gateway, keys.acme, path, **changes)
    assert (reply.status, len(client.calls)) == (200, 1)


async def test_the_engine_decides_if_the_limit_is_unknown(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    client.max_model_len = 0
    client.scripts = [body_script()]
    assert (await post(gateway, keys.acme, COMPLETIONS, prompt=_ids(10_000))).status == 200
    assert client.calls[0].cost_tokens > 1000, "routing needs an estimate"
