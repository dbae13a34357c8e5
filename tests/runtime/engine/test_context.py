"""Context overflows: exact counts from the engine's tokenizer, as long as counting is cheap."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from inference_worker.protocol.faults import ContextOverflow, OtherFault, RequestFault
from inference_worker.protocol.messages import DEFAULT_OPERATIONS, Operation, Submit
from inference_worker.runtime.calls.context_length import MAX_CHARACTERS_PER_TOKEN
from inference_worker.runtime.calls.engine_call import EngineCall, current_call
from inference_worker.runtime.calls.fast_path import EmptyChunks

LIMIT = 8
TOO_LONG = (
    "This model's maximum context length is 8 tokens. However, your prompt contains at least 9 input tokens"
)
FULL = "max_tokens must be at least 1, got 0. (parameter=max_tokens, value=0)"
ABOVE = "max_tokens=9 cannot be greater than max_model_len=8. Please request fewer output tokens."
INEXACT = ContextOverflow(limit_tokens=LIMIT, prompt_tokens=9, at_least=True)


def exactly(prompt_tokens: int, completion_tokens: int | None = None) -> ContextOverflow:
    return ContextOverflow(
        limit_tokens=LIMIT, prompt_tokens=prompt_tokens, completion_tokens=completion_tokens
    )


class CountingEngine:
    """Rejects all requests with this message. A word is a token, and a conversation has two more."""

    fast_paths: Mapping[Operation, EmptyChunks] = {}
    is_dead = False
    max_model_len = LIMIT

    def __init__(
        self,
        message: str,
        operations: tuple[Operation, ...] = tuple(Operation),
        fault: RequestFault | None = None,
    ) -> None:
        self.operations = operations
        self.message = message
        self.fault = fault
        self.tokenizer_requests: list[dict[str, Any]] = []

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        body = json.loads((await receive())["body"])
        status = 400
        response: dict[str, Any] = {"error": {"message": self.message, "code": 400}}
        if scope["path"] == "/tokenize":
            self.tokenizer_requests.append(body)
            texts = [m["content"] for m in body.get("messages", ())] + [json.dumps(body.get("tools", ""))]
            count = len(body["prompt"].split()) if "prompt" in body else len(" ".join(texts).split()) + 1
            status, response = 200, {"count": count, "max_model_len": LIMIT, "tokens": []}
        elif self.fault is not None and (call := current_call.get()) is not None:
            call.fault = self.fault
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": json.dumps(response).encode()})


async def _fault(engine: CountingEngine, operation: Operation, **body: Any) -> RequestFault | None:
    """Return the fault that the gateway receives."""
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
    (event,) = events
    assert event.status == 400
    fault: RequestFault | None = event.fault
    return fault


def _user(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


@pytest.mark.parametrize(
    ("message", "operation", "body", "overflow"),
    [
        (TOO_LONG, Operation.COMPLETIONS, {"prompt": "a " * 12}, exactly(12)),
        (TOO_LONG, Operation.COMPLETIONS, {"prompt": ["a", "b " * 9]}, exactly(9)),
        (TOO_LONG, Operation.COMPLETIONS, {"prompt": "a " * 12, "max_tokens": 5}, exactly(12, 5)),
        (FULL, Operation.COMPLETIONS, {"prompt": "a " * 8}, exactly(8, 1)),
        (ABOVE, Operation.COMPLETIONS, {"prompt": "a", "max_tokens": 9}, exactly(1, 9)),
        (TOO_LONG, Operation.CHAT_COMPLETIONS, {"messages": _user("a " * 10)}, exactly(12)),
        (FULL, Operation.CHAT_COMPLETIONS, {"messages": _user("a " * 6)}, exactly(8, 1)),
        (
            ABOVE,
            Operation.CHAT_COMPLETIONS,
            {"messages": _user("a"), "max_completion_tokens": 9},
            exactly(3, 9),
        ),
        (TOO_LONG, Operation.EMBEDDINGS, {"input": ["a", "b " * 11]}, exactly(11)),
    ],
)
async def test_an_overflow_is_counted_exactly(
    message: str, operation: Operation, body: dict[str, Any], overflow: ContextOverflow
) -> None:
    assert await _fault(CountingEngine(message), operation, **body) == overflow


async def test_the_tokenizer_gets_the_same_conversation_as_the_model() -> None:
    engine = CountingEngine(TOO_LONG)
    conversation = {
        "messages": _user("a " * 9),
        "tools": [{"type": "function", "function": {"name": "look"}}],
        "continue_final_message": True,
        "add_generation_prompt": False,
    }
    other = {"chat_template_kwargs": {"a": 1}, "reasoning_effort": "none", "temperature": 0}
    await _fault(engine, Operation.CHAT_COMPLETIONS, **conversation, **other)
    template = {"a": 1, "reasoning_effort": "none", "enable_thinking": False}
    assert engine.tokenizer_requests == [{"model": "m", **conversation, "chat_template_kwargs": template}]


@pytest.mark.parametrize(
    ("engine", "operation", "body", "fault"),
    [
        (
            CountingEngine(TOO_LONG, DEFAULT_OPERATIONS),
            Operation.COMPLETIONS,
            {"prompt": "a " * 12},
            INEXACT,
        ),
        (
            CountingEngine("out-of-vocab"),
            Operation.COMPLETIONS,
            {"prompt": "a " * 12},
            OtherFault(reason="out-of-vocab"),
        ),
        (
            CountingEngine(TOO_LONG),
            Operation.COMPLETIONS,
            {"prompt": "a " * (LIMIT * MAX_CHARACTERS_PER_TOKEN)},
            INEXACT,
        ),
        (CountingEngine(TOO_LONG), Operation.COMPLETIONS, {"prompt": ["a " * 100, "b " * 100]}, INEXACT),
        (CountingEngine(TOO_LONG), Operation.CHAT_COMPLETIONS, {"messages": _user("a " * 1000)}, INEXACT),
        (CountingEngine(TOO_LONG), Operation.DETOKENIZE, {"tokens": [1]}, INEXACT),
        (
            CountingEngine(TOO_LONG, fault=exactly(5)),
            Operation.COMPLETIONS,
            {"prompt": "a " * 12},
            exactly(5),
        ),
    ],
)
async def test_otherwise_nothing_is_counted_and_the_engines_own_counts_are_reported(
    engine: CountingEngine, operation: Operation, body: dict[str, Any], fault: RequestFault
) -> None:
    assert await _fault(engine, operation, **body) == fault
    assert engine.tokenizer_requests == []


async def test_a_count_that_fits_is_not_reported() -> None:
    engine = CountingEngine(TOO_LONG)
    assert await _fault(engine, Operation.COMPLETIONS, prompt="aaaaaaaaaaaaaaa") == INEXACT
    assert len(engine.tokenizer_requests) == 1
