"""Requests that exceed the context: one error code with exact numbers, from gateway and engine alike."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.stack.conftest import OwnedStack
from tests.stack.records import audit_row

LIMIT = 1024
CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"


@pytest.fixture
def client(ready_stack: OwnedStack) -> Iterator[httpx.Client]:
    with ready_stack.client() as client:
        yield client


@pytest.fixture(scope="module")
def tokenizer(tiny_model: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tiny_model)


def _text(tokens: int) -> str:
    return "the" + " the" * (tokens - 1)


def _messages(tokenizer: Any, tokens: int) -> list[dict[str, str]]:
    """Return a conversation of exactly so many tokens, the template included."""
    frame = len(
        tokenizer.apply_chat_template([{"role": "user", "content": "the"}], add_generation_prompt=True)[
            "input_ids"
        ]
    )
    return [{"role": "user", "content": _text(tokens - frame + 1)}]


def _ask(client: httpx.Client, path: str, **body: Any) -> httpx.Response:
    return client.post(path, json={"model": "tiny", "ignore_eos": True, "temperature": 0, **body})


def _refusal(reply: httpx.Response, part: str) -> str:
    error = reply.json()["error"]
    assert (reply.status_code, error["code"], error["param"]) == (400, "context_length_exceeded", part)
    begin = f"This model's maximum context length is {LIMIT} tokens. However, "
    assert error["message"].startswith(begin), error["message"]
    return str(error["message"].removeprefix(begin).partition(". Please")[0])


@pytest.mark.case("serving.32")
@pytest.mark.criterion("1.7")
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("tokens", "limit", "detail"),
    [
        (LIMIT, None, "you requested 1025 tokens (1024 in the {}, 1 in the completion)"),
        (LIMIT, 1, "you requested 1025 tokens (1024 in the {}, 1 in the completion)"),
        (LIMIT - 1, 2, "you requested 1025 tokens (1023 in the {}, 2 in the completion)"),
        (LIMIT + 1, None, "your {} resulted in 1025 tokens"),
        (LIMIT + 400, None, "your {} resulted in 1424 tokens"),
        (LIMIT + 400, 10, "you requested 1434 tokens (1424 in the {}, 10 in the completion)"),
        (100, 925, "you requested 1025 tokens (100 in the {}, 925 in the completion)"),
        (100, 5000, "you requested 5100 tokens (100 in the {}, 5000 in the completion)"),
    ],
)
def test_errors_for_text_token_ids_and_messages_have_the_same_numbers(
    client: httpx.Client, tokenizer: Any, stream: bool, tokens: int, limit: int | None, detail: str
) -> None:
    text = _text(tokens)
    ids = tokenizer(text)["input_ids"]
    assert len(ids) == tokens
    body = {"stream": stream, **({} if limit is None else {"max_tokens": limit})}
    several = () if limit == 5000 else (["short", text], [ids[:2], ids])  # the first prompt that is too long
    for prompt in (text, ids, *several):
        assert _refusal(_ask(client, COMPLETIONS, prompt=prompt, **body), "prompt") == detail.format("prompt")
    messages = _messages(tokenizer, tokens)
    for changes in ({}, {"n": 3, "temperature": 1}):
        reply = _ask(client, CHAT, messages=messages, **{**body, **changes})
        assert _refusal(reply, "messages") == detail.format("messages")
    if limit is not None:
        body["max_completion_tokens"] = body.pop("max_tokens")
        assert _refusal(_ask(client, CHAT, messages=messages, **body), "messages") == detail.format(
            "messages"
        )


@pytest.mark.case("serving.32")
def test_a_request_that_fills_the_context_to_the_last_token_succeeds(
    client: httpx.Client, tokenizer: Any
) -> None:
    ids = tokenizer(_text(LIMIT - 1))["input_ids"]
    for prompt in (_text(LIMIT - 1), ids):
        for limit in ({}, {"max_tokens": 1}):
            usage = _ask(client, COMPLETIONS, prompt=prompt, **limit).json()["usage"]
            assert (usage["prompt_tokens"], usage["completion_tokens"]) == (LIMIT - 1, 1)
    chat = _ask(client, CHAT, messages=_messages(tokenizer, LIMIT - 2), max_tokens=2).json()
    assert chat["usage"] == {**chat["usage"], "prompt_tokens": LIMIT - 2, "completion_tokens": 2}
    answer = _ask(client, CHAT, messages=_messages(tokenizer, LIMIT - 5)).json()
    assert answer["usage"]["completion_tokens"] == 5
    assert answer["choices"][0]["finish_reason"] == "length"


def test_a_text_too_long_to_be_counted_is_rejected_for_its_length(
    client: httpx.Client, ready_stack: OwnedStack
) -> None:
    reply = _ask(client, COMPLETIONS, prompt="word " * 8_000)
    assert _refusal(reply, "prompt") == "your prompt resulted in at least 1025 tokens"
    longer = _ask(client, COMPLETIONS, prompt="word " * 80_000)
    text = "you sent 400000 characters in the prompt, which result in more tokens"
    assert _refusal(longer, "prompt") == text
    audit = audit_row(ready_stack, reply.headers["x-request-id"])
    assert (audit["outcome"], audit["error_code"]) == ("refused", "context_length_exceeded")


@pytest.mark.honours("chat", "n")
@pytest.mark.honours("completions", "n")
def test_all_choices_at_temperature_zero_are_the_greedy_one(client: httpx.Client) -> None:
    messages = [{"role": "user", "content": "Name three rivers."}]
    one = _ask(client, CHAT, messages=messages, max_tokens=24, logprobs=True).json()["choices"][0]
    three = _ask(client, CHAT, messages=messages, max_tokens=24, logprobs=True, n=3).json()["choices"]
    assert [choice["index"] for choice in three] == [0, 1, 2]
    for choice in three:
        assert choice["message"]["content"] == one["message"]["content"]
        logprobs = [token["logprob"] for token in choice["logprobs"]["content"]]
        assert logprobs == pytest.approx([token["logprob"] for token in one["logprobs"]["content"]], abs=1e-4)
    alone = _ask(client, COMPLETIONS, prompt="Rivers:", max_tokens=24).json()["choices"][0]["text"]
    both = _ask(client, COMPLETIONS, prompt=["Rivers:", "Hills:"], max_tokens=24, n=2, seed=3).json()[
        "choices"
    ]
    assert [choice["text"] == alone for choice in both] == [True, True, False, False]
    assert both[2]["text"] == both[3]["text"]
