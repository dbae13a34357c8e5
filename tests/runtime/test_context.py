"""Why a request didn't fit, in numbers that the tokenizer is asked for, as long as that costs little."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from inference_worker.protocol.messages import DEFAULT_OPERATIONS, Operation, Submit
from inference_worker.runtime.calls.context_length import COUNTED_PER_TOKEN
from inference_worker.runtime.calls.engine_call import EngineCall
from inference_worker.runtime.calls.fast_path import EmptyPieces

LIMIT = 8
TOO_LONG = (
    "This model's maximum context length is 8 tokens. However, your prompt contains at least 9 input tokens"
)
FULL = "max_tokens must be at least 1, got 0. (parameter=max_tokens, value=0)"
ABOVE = "max_tokens=9 cannot be greater than max_model_len=8. Please request fewer output tokens."


class CountingEngine:
    """Refuses all requests in the given words; a word is a token, and each conversation has two more."""

    short_ways: Mapping[Operation, EmptyPieces] = {}
    is_dead = False
    max_model_len = LIMIT

    def __init__(self, refusal: str, operations: tuple[Operation, ...] = tuple(Operation)) -> None:
        self.operations = operations
        self.refusal = refusal
        self.asked: list[dict[str, Any]] = []

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        body = json.loads((await receive())["body"])
        status = 400
        answer: dict[str, Any] = {"error": {"message": self.refusal, "code": 400}}
        if scope["path"] == "/tokenize":
            self.asked.append(body)
            texts = [m["content"] for m in body.get("messages", ())] + [json.dumps(body.get("tools", ""))]
            count = len(body["prompt"].split()) if "prompt" in body else len(" ".join(texts).split()) + 1
            status, answer = 200, {"count": count, "max_model_len": LIMIT, "tokens": []}
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": json.dumps(answer).encode()})


async def _refused(engine: CountingEngine, operation: Operation, **body: Any) -> str:
    """What the client is told in the end."""
    events: list[Any] = []
    submit = Submit(
        request_id="req_1",
        attempt=1,
        reply_to="g",
        operation=operation,
        model="m",
        streamed=False,
        body=json.dumps({"model": "m", **body}).encode(),
        correlation_id="c",
        budget_s=5.0,
    )
    await EngineCall(submit, engine, events.append).run()  # type: ignore[arg-type]  # the part it uses
    (failed,) = events
    assert failed.status == 400
    return str(json.loads(failed.detail)["error"]["message"])


def _user(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


@pytest.mark.parametrize(
    ("refusal", "operation", "body", "found"),
    [
        (TOO_LONG, Operation.COMPLETIONS, {"prompt": "a " * 12}, "your prompt resulted in 12 tokens"),
        (TOO_LONG, Operation.COMPLETIONS, {"prompt": ["a", "b " * 9]}, "your prompt resulted in 9 tokens"),
        (
            TOO_LONG,
            Operation.COMPLETIONS,
            {"prompt": "a " * 12, "max_tokens": 5},
            "17 tokens (12 in the prompt, 5",
        ),
        (
            FULL,
            Operation.COMPLETIONS,
            {"prompt": "a " * 8},
            "9 tokens (8 in the prompt, 1 in the completion)",
        ),
        (ABOVE, Operation.COMPLETIONS, {"prompt": "a", "max_tokens": 9}, "10 tokens (1 in the prompt, 9 in"),
        (
            TOO_LONG,
            Operation.CHAT_COMPLETIONS,
            {"messages": _user("a " * 10)},
            "messages resulted in 12 tokens",
        ),
        (
            FULL,
            Operation.CHAT_COMPLETIONS,
            {"messages": _user("a " * 6)},
            "9 tokens (8 in the messages, 1 in",
        ),
        (
            ABOVE,
            Operation.CHAT_COMPLETIONS,
            {"messages": _user("a"), "max_completion_tokens": 9},
            "12 tokens (3 in the messages, 9 in the completion)",
        ),
        (TOO_LONG, Operation.EMBEDDINGS, {"input": ["a", "b " * 11]}, "your input resulted in 11 tokens"),
    ],
)
async def test_the_count_is_exact(
    refusal: str, operation: Operation, body: dict[str, Any], found: str
) -> None:
    told = await _refused(CountingEngine(refusal), operation, **body)
    assert told.startswith("This model's maximum context length is 8 tokens. However, you")
    assert found in told


async def test_the_tokenizer_is_asked_for_what_the_model_would_have_read() -> None:
    engine = CountingEngine(TOO_LONG)
    kept = {
        "messages": _user("a " * 9),
        "tools": [{"type": "function", "function": {"name": "look"}}],
        "continue_final_message": True,
        "add_generation_prompt": False,
    }
    asked = {**kept, "chat_template_kwargs": {"a": 1}, "reasoning_effort": "none", "temperature": 0}
    await _refused(engine, Operation.CHAT_COMPLETIONS, **asked)
    template = {"a": 1, "reasoning_effort": "none", "enable_thinking": False}
    assert engine.asked == [{"model": "m", **kept, "chat_template_kwargs": template}]


@pytest.mark.parametrize(
    ("engine", "operation", "body"),
    [
        (CountingEngine(TOO_LONG, DEFAULT_OPERATIONS), Operation.COMPLETIONS, {"prompt": "a " * 12}),
        (CountingEngine("out-of-vocab"), Operation.COMPLETIONS, {"prompt": "a " * 12}),
        (CountingEngine(TOO_LONG), Operation.COMPLETIONS, {"prompt": "a " * (LIMIT * COUNTED_PER_TOKEN)}),
        (CountingEngine(TOO_LONG), Operation.COMPLETIONS, {"prompt": ["a " * 100, "b " * 100]}),
        (CountingEngine(TOO_LONG), Operation.CHAT_COMPLETIONS, {"messages": _user("a " * 1000)}),
        (CountingEngine(TOO_LONG), Operation.DETOKENIZE, {"tokens": [1]}),
    ],
)
async def test_otherwise_the_engine_s_words_stay(
    engine: CountingEngine, operation: Operation, body: dict[str, Any]
) -> None:
    assert await _refused(engine, operation, **body) == engine.refusal
    assert engine.asked == []


async def test_a_count_that_explains_nothing_is_not_told() -> None:
    engine = CountingEngine(TOO_LONG)
    assert await _refused(engine, Operation.COMPLETIONS, prompt="aaaaaaaaaaaaaaa") == TOO_LONG
    assert len(engine.asked) == 1
