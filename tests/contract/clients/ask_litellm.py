"""Drives the litellm SDK, unmodified; prints what it got as JSON, for the test to judge."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from typing import Any, Literal

import litellm
from pydantic import BaseModel

litellm.suppress_debug_info = True  # it would print to where the answer goes
MODEL = os.environ["MODEL"]
MESSAGES = [{"role": "user", "content": "What is the capital of France?"}]
GREEDY: dict[str, Any] = {"messages": MESSAGES, "temperature": 0, "max_tokens": 100, "num_retries": 0}
TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Look up the weather of a city.",
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {"city": {"enum": ["Paris", "Rome", "Lima"]}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}
FORCED = {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "weather"}}}


class Capital(BaseModel):
    """A country with its capital."""

    country: Literal["France", "Italy", "Peru"]
    capital: Literal["Paris", "Rome", "Lima"]


def ask(**arguments: Any) -> Any:
    """One call of the provider ``openai``; address and key come from the environment."""
    return litellm.completion(**{"model": f"openai/{MODEL}", **GREEDY, **arguments})


def failure(call: Callable[[], object]) -> dict[str, Any]:
    """The exception that the call raised."""
    try:
        call()
    except Exception as error:
        # all that litellm raises has a status of its own choice
        return {"name": type(error).__name__, "status": getattr(error, "status_code", None)}
    raise SystemExit("it should have failed")


async def awaited() -> dict[str, Any]:
    """The asynchronous half."""
    arguments = {"model": f"openai/{MODEL}", **GREEDY}
    answer, stream = await asyncio.gather(
        litellm.acompletion(**arguments), litellm.acompletion(**arguments, stream=True)
    )
    pieces = [chunk.choices[0].delta.content or "" async for chunk in stream]
    return {"text": answer.choices[0].message.content, "streamed": "".join(pieces)}


def plain() -> dict[str, Any]:
    """Whole and streamed, and what litellm builds from the stream."""
    answer = ask()
    chunks = list(ask(stream=True, stream_options={"include_usage": True}))
    rebuilt = litellm.stream_chunk_builder(chunks, messages=MESSAGES)
    hosted = litellm.completion(
        **{"model": f"hosted_vllm/{MODEL}", "api_base": os.environ["OPENAI_BASE_URL"], **GREEDY},
        api_key=os.environ["OPENAI_API_KEY"],
    )
    return {
        "text": answer.choices[0].message.content,
        "usage": answer.usage.model_dump(),
        "finish": answer.choices[0].finish_reason,
        "streamed": "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices),
        "rebuilt": rebuilt.choices[0].message.content,
        "rebuilt_usage": rebuilt.usage.model_dump(),
        "hosted": hosted.choices[0].message.content,
    }


def completion() -> str:
    """The older endpoint."""
    answer = litellm.text_completion(
        model=f"text-completion-openai/{MODEL}", prompt="The sea is", temperature=0, max_tokens=12
    )
    return str(answer.choices[0].text)


def tools() -> dict[str, Any]:
    """A forced call, whole and put together from its stream; an object by its schema."""
    called = ask(**FORCED).choices[0]
    rebuilt = litellm.stream_chunk_builder(list(ask(**FORCED, stream=True))).choices[0]
    return {
        "called": [[c.function.name, c.function.arguments] for c in called.message.tool_calls],
        "finish": called.finish_reason,
        "streamed": [[c.function.name, c.function.arguments] for c in rebuilt.message.tool_calls],
        "structured": ask(response_format=Capital).choices[0].message.content,
    }


def responses() -> dict[str, Any]:
    """The Responses API, whole and streamed."""
    asked = {"input": MESSAGES[0]["content"], "temperature": 0, "max_output_tokens": 40}
    answer = litellm.responses(model=f"openai/{MODEL}", **asked)
    events = list(litellm.responses(model=f"openai/{MODEL}", stream=True, **asked))
    deltas = [getattr(event, "delta", "") for event in events]
    return {"text": answer.output[0].content[0].text, "streamed": "".join(deltas), "last": events[-1].type}


def failures() -> dict[str, Any]:
    """Errors by the class that litellm makes of them."""
    idle = os.environ["IDLE_MODEL"]
    return {
        "key": failure(lambda: ask(api_key="sk-wrong")),
        "model": failure(lambda: ask(model="openai/no-such")),
        "context": failure(lambda: ask(messages=[{"role": "user", "content": "sea " * 9000}])),
        "value": failure(lambda: ask(temperature=9)),
        "worker": failure(lambda: ask(model=f"openai/{idle}", max_retries=0)),
    }


print(
    json.dumps(
        {
            "plain": plain(),
            "awaited": asyncio.run(awaited()),
            "completion": completion(),
            "tools": tools(),
            "responses": responses(),
            "failures": failures(),
        },
        default=str,
    )
)
