"""Drives the unmodified litellm SDK and prints its results as JSON."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from typing import Any, Literal

import litellm
from pydantic import BaseModel

litellm.suppress_debug_info = True  # stdout is for the results
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
    """Call the provider ``openai``; address and key come from the environment."""
    return litellm.completion(**{"model": f"openai/{MODEL}", **GREEDY, **arguments})


def failure(call: Callable[[], object]) -> dict[str, Any]:
    """Return the exception that the call raises."""
    try:
        call()
    except Exception as error:
        # litellm chooses the status of its exceptions itself
        return {"name": type(error).__name__, "status": getattr(error, "status_code", None)}
    raise SystemExit("it should have failed")


async def awaited() -> dict[str, Any]:
    """Return asynchronous responses, whole and streamed."""
    arguments = {"model": f"openai/{MODEL}", **GREEDY}
    answer, stream = await asyncio.gather(
        litellm.acompletion(**arguments), litellm.acompletion(**arguments, stream=True)
    )
    pieces = [chunk.choices[0].delta.content or "" async for chunk in stream]
    return {"text": answer.choices[0].message.content, "streamed": "".join(pieces)}


def plain() -> dict[str, Any]:
    """Return whole and streamed text, and the response that litellm rebuilds from the stream."""
    answer = ask()
    chunks = list(ask(stream=True, stream_options={"include_usage": True}))
    rebuilt = litellm.stream_chunk_builder(chunks, messages=MESSAGES)
    hosted_answer = litellm.completion(
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
        "hosted": hosted_answer.choices[0].message.content,
    }


def completion() -> str:
    """Return the text of a completion."""
    answer = litellm.text_completion(
        model=f"text-completion-openai/{MODEL}", prompt="The sea is", temperature=0, max_tokens=12
    )
    return str(answer.choices[0].text)


def tools() -> dict[str, Any]:
    """Return a forced call, whole and assembled from its stream, and an object that matches a schema."""
    choice = ask(**FORCED).choices[0]
    rebuilt = litellm.stream_chunk_builder(list(ask(**FORCED, stream=True))).choices[0]
    return {
        "called": [[c.function.name, c.function.arguments] for c in choice.message.tool_calls],
        "finish": choice.finish_reason,
        "streamed": [[c.function.name, c.function.arguments] for c in rebuilt.message.tool_calls],
        "structured": ask(response_format=Capital).choices[0].message.content,
    }


def responses() -> dict[str, Any]:
    """Return whole and streamed text of the Responses API."""
    arguments = {"input": MESSAGES[0]["content"], "temperature": 0, "max_output_tokens": 40}
    answer = litellm.responses(model=f"openai/{MODEL}", **arguments)
    events = list(litellm.responses(model=f"openai/{MODEL}", stream=True, **arguments))
    deltas = [getattr(event, "delta", "") for event in events]
    return {"text": answer.output[0].content[0].text, "streamed": "".join(deltas), "last": events[-1].type}


def failures() -> dict[str, Any]:
    """Return the exceptions for errors of the gateway."""
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
