"""Conversations through LlamaIndex: each message is appended as LlamaIndex returned it."""

from __future__ import annotations

import os
from typing import Any

from llama_index.core.llms import ChatMessage
from llama_index.core.tools import FunctionTool
from llama_index.llms.openai import OpenAIResponses
from llama_index.llms.openai_like import OpenAILike
from pydantic import BaseModel
from turns import QUESTIONS, TOOL_RESULT, expect_text, expect_tool_text, report

SETTINGS: dict[str, Any] = {
    "model": os.environ["MODEL"],
    "api_base": os.environ["OPENAI_BASE_URL"],
    "api_key": os.environ["OPENAI_API_KEY"],
    "context_window": 8192,
    "max_retries": 0,
}


class Weather(BaseModel):
    """The weather of a city."""

    city: str
    days: int


def weather(city: str) -> str:
    """Look up the weather of a city."""
    return f"It rains in {city}."


def chat_model() -> Any:
    return OpenAILike(**SETTINGS, is_chat_model=True, is_function_calling_model=True)


def ask(llm: Any, messages: list[Any], *, streamed: bool) -> Any:
    if not streamed:
        return llm.chat(messages).message
    *_, last = llm.stream_chat(messages)
    return last.message


def texts(llm: Any) -> None:
    for streamed in (False, True):
        messages: list[Any] = []
        for turn, question in enumerate(QUESTIONS, 1):
            messages.append(ChatMessage(role="user", content=question))
            messages.append(ask(llm, messages, streamed=streamed))
            expect_text(messages[-1].content, turn)


def tools(llm: Any) -> None:
    tool = FunctionTool.from_defaults(weather)
    for streamed in (False, True):
        messages: list[Any] = []
        for question in QUESTIONS:
            messages.append(ChatMessage(role="user", content=question))
            if streamed:
                *_, answer = llm.stream_chat_with_tools([tool], chat_history=messages)
            else:
                answer = llm.chat_with_tools([tool], chat_history=messages)
            (call,) = llm.get_tool_calls_from_response(answer)
            messages.append(answer.message)
            details = {"tool_call_id": call.tool_id, "name": call.tool_name}
            messages.append(ChatMessage(role="tool", content=TOOL_RESULT, additional_kwargs=details))
            messages.append(llm.chat_with_tools([tool], chat_history=messages).message)
            expect_tool_text(messages[-1].content)


def chat_texts() -> None:
    texts(chat_model())


def chat_tools() -> None:
    tools(chat_model())


def chat_parsed() -> None:
    llm = chat_model().as_structured_llm(Weather)
    messages: list[Any] = []
    for question in QUESTIONS:
        messages.append(ChatMessage(role="user", content=question))
        answer = llm.chat(messages)
        assert answer.raw == Weather(city="Rome", days=1)
        messages.append(answer.message)


def responses_texts() -> None:
    texts(OpenAIResponses(**SETTINGS))


def responses_tools() -> None:
    tools(OpenAIResponses(**SETTINGS))


report(chat_texts, chat_tools, chat_parsed, responses_texts, responses_tools)
