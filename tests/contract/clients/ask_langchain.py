"""Drives LangChain's unmodified ChatOpenAI and prints its results as JSON."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from typing import Any, Literal

import openai
from langchain_core.messages import HumanMessage, SystemMessage, ToolMessage
from langchain_openai import ChatOpenAI
from pydantic import BaseModel, Field

MODEL = os.environ["MODEL"]
SYSTEM = "You are a helpful AI assistant."
QUESTION = "What is the capital of France?"


class Weather(BaseModel):
    """Look up the weather of a city."""

    city: Literal["Paris", "Rome", "Lima"]
    days: int = Field(ge=1, le=9)


class Capital(BaseModel):
    """A country with its capital."""

    country: Literal["France", "Italy", "Peru"]
    capital: Literal["Paris", "Rome", "Lima"]


def chat(**settings: Any) -> Any:
    """Return the client; address and key come from OPENAI_BASE_URL and OPENAI_API_KEY."""
    return ChatOpenAI(**{"model": MODEL, "temperature": 0, "max_tokens": 100, "max_retries": 0, **settings})


def failure(call: Callable[[], object]) -> dict[str, Any]:
    """Return the exception that the call raises."""
    try:
        call()
    except openai.APIStatusError as error:
        classes = [entry.__name__ for entry in type(error).__mro__]
        return {"classes": classes, "status": error.status_code, "code": error.code}
    raise SystemExit("it should have failed")


def plain() -> dict[str, Any]:
    """Return whole, streamed, asynchronous and batched responses."""
    model = chat()
    answer = model.invoke([SystemMessage(SYSTEM), HumanMessage(QUESTION)])
    pieces = list(model.stream([("system", SYSTEM), ("user", QUESTION)]))
    later = asyncio.run(model.ainvoke([("system", SYSTEM), ("user", QUESTION)]))
    return {
        "text": answer.content,
        "usage": answer.usage_metadata,
        "metadata": answer.response_metadata,
        "streamed": added(pieces).content,
        "streamed_usage": added(list(chat(stream_usage=True).stream(QUESTION))).usage_metadata,
        "pieces": len(pieces),
        "asynchronous": later.content,
        "batch": [each.content for each in model.batch([QUESTION, "What is 2 + 2?"])],
    }


def added(pieces: list[Any]) -> Any:
    """Return the message that LangChain assembles from the chunks of a stream."""
    return sum(pieces[1:], pieces[0])


def logprobs() -> Any:
    """Return log-probabilities by token."""
    answer = chat(max_tokens=3).bind(logprobs=True, top_logprobs=2).invoke(QUESTION)
    return answer.response_metadata["logprobs"]["content"]


def tools() -> dict[str, Any]:
    """Return a forced call, whole and streamed, a free choice of tools, and the reply to a tool result."""
    model = chat().bind_tools([Weather], tool_choice="Weather", strict=True)
    message = model.invoke("How is the weather in Rome?")
    both: list[Any] = [Weather, Capital]
    some = chat().bind_tools(both, tool_choice="any", strict=True)
    history = [HumanMessage("How is the weather in Rome?"), message]
    history.append(ToolMessage("It rains.", tool_call_id=message.tool_calls[0]["id"]))
    return {
        "called": message.tool_calls,
        "finish": message.response_metadata["finish_reason"],
        "streamed": added(list(model.stream("How is the weather in Rome?"))).tool_calls,
        "any": some.invoke("How is the weather in Rome?").tool_calls,
        "afterwards": chat(max_tokens=16).bind_tools([Weather], tool_choice="none").invoke(history).content,
    }


def structured() -> dict[str, Any]:
    """Return an object from each method of LangChain's structured output."""
    ways: dict[str, dict[str, Any]] = {
        "json_schema": {"method": "json_schema"},
        "strict": {"method": "json_schema", "strict": True},
        "function_calling": {"method": "function_calling", "strict": True},
    }
    return {
        name: chat().with_structured_output(Capital, **way).invoke(QUESTION).model_dump()
        for name, way in ways.items()
    }


def responses() -> dict[str, Any]:
    """Return the same through the Responses API, continued from a stored response."""
    model = chat(use_responses_api=True)
    answer = model.invoke(QUESTION)
    tool_model = model.bind_tools([Weather], tool_choice="Weather", strict=True)
    continuation = model.bind(previous_response_id=answer.response_metadata["id"])
    return {
        "text": answer.text,
        "usage": answer.usage_metadata,
        "streamed": added(list(model.stream(QUESTION))).text,
        "continued": continuation.invoke("And of Italy?").text,
        "tools": tool_model.invoke("How is the weather in Rome?").tool_calls,
        "structured": model.with_structured_output(Capital).invoke(QUESTION).model_dump(),
    }


def failures() -> dict[str, Any]:
    """Return the exceptions for errors of the gateway."""
    return {
        "key": failure(lambda: chat(api_key="sk-wrong").invoke("x")),
        "model": failure(lambda: chat(model="no-such").invoke("x")),
        "context": failure(lambda: chat().invoke("sea " * 9000)),
    }


print(
    json.dumps(
        {
            "plain": plain(),
            "logprobs": logprobs(),
            "tools": tools(),
            "structured": structured(),
            "responses": responses(),
            "failures": failures(),
        },
        default=str,
    )
)
