"""Drives LlamaIndex's unmodified client for OpenAI-like servers and prints its results as JSON."""

import asyncio
import json
import os
from typing import Any, Literal

from llama_index.core.llms import ChatMessage
from llama_index.core.tools import FunctionTool
from llama_index.llms.openai import OpenAIResponses
from llama_index.llms.openai_like import OpenAILike
from pydantic import BaseModel

QUESTION = "What is the capital of France?"


class Capital(BaseModel):
    """A country with its capital."""

    country: Literal["France", "Italy", "Peru"]
    capital: Literal["Paris", "Rome", "Lima"]


def forecast(city: Literal["Paris", "Rome", "Lima"]) -> str:
    """Look up the weather of a city."""
    return f"It rains in {city}."


def client(*, chat: bool, **settings: Any) -> Any:
    """Return the client for chat completions or for completions."""
    return OpenAILike(
        model=os.environ["MODEL"],
        api_base=os.environ["OPENAI_BASE_URL"],
        api_key=os.environ["OPENAI_API_KEY"],
        context_window=8192,
        temperature=0,
        max_tokens=100 if chat else 12,
        max_retries=0,
        strict=True,
        is_chat_model=chat,
        is_function_calling_model=chat,
        **settings,
    )


def completion() -> dict[str, Any]:
    """Return completions: whole, streamed, asynchronous."""
    llm = client(chat=False)
    return {
        "text": llm.complete("The sea is").text,
        "streamed": "".join(piece.delta for piece in llm.stream_complete("The sea is")),
        "asynchronous": asyncio.run(client(chat=False).acomplete("The sea is")).text,
    }


def chatting() -> dict[str, Any]:
    """Return chat completions: whole, streamed, asynchronous."""
    llm = client(chat=True)
    messages = [
        ChatMessage(role="system", content="You are a helpful AI assistant."),
        ChatMessage(content=QUESTION),
    ]
    answer = llm.chat(messages)
    pieces = list(llm.stream_chat(messages))
    return {
        "text": answer.message.content,
        "usage": answer.additional_kwargs,
        "streamed": "".join(piece.delta or "" for piece in pieces),
        "pieces": len(pieces),
        "asynchronous": asyncio.run(client(chat=True).achat(messages)).message.content,
    }


def responses() -> dict[str, Any]:
    """Return responses, whole and streamed."""
    llm = OpenAIResponses(
        model=os.environ["MODEL"],
        api_base=os.environ["OPENAI_BASE_URL"],
        api_key=os.environ["OPENAI_API_KEY"],
        context_window=8192,
        temperature=0,
        max_output_tokens=24,
        max_retries=0,
    )
    return {
        "text": llm.complete(QUESTION).text,
        "streamed": "".join(piece.delta or "" for piece in llm.stream_complete(QUESTION)),
    }


def tools() -> dict[str, Any]:
    """Return the calls of the model, and the result of the function that LlamaIndex calls."""
    llm = client(chat=True)
    tool = FunctionTool.from_defaults(forecast)
    question = "How is the weather in Rome?"
    answer = llm.chat_with_tools([tool], user_msg=question, tool_required=True)
    calls = llm.get_tool_calls_from_response(answer)
    call_result = llm.predict_and_call([tool], user_msg=question, tool_required=True)
    *_, last = llm.stream_chat_with_tools([tool], user_msg=question, tool_required=True)
    streamed = llm.get_tool_calls_from_response(last)
    return {
        "calls": [[call.tool_name, call.tool_kwargs] for call in calls],
        "done": str(call_result),
        "streamed": [[call.tool_name, call.tool_kwargs] for call in streamed],
    }


def structured() -> dict[str, Any]:
    """Return an object, by function calling and by ``response_format``."""
    by_function = client(chat=True).as_structured_llm(Capital).complete(QUESTION)
    by_format = client(chat=True, should_use_structured_outputs=True).as_structured_llm(Capital)
    return {
        "function": by_function.raw.model_dump(),
        "format": by_format.complete(QUESTION).raw.model_dump(),
    }


print(
    json.dumps(
        {
            "completion": completion(),
            "chat": chatting(),
            "responses": responses(),
            "tools": tools(),
            "structured": structured(),
        },
        default=str,
    )
)
