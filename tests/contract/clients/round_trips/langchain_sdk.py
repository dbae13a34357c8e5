"""Conversations through LangChain: each message is appended as LangChain returned it."""

from __future__ import annotations

import os
from typing import Any

from langchain_core.messages import HumanMessage, ToolMessage
from langchain_openai import ChatOpenAI
from pydantic import BaseModel
from turns import QUESTIONS, TOOL_RESULT, expect_text, expect_tool_text, report


class Weather(BaseModel):
    """The weather of a city."""

    city: str
    days: int


def model(**settings: Any) -> Any:
    return ChatOpenAI(model=os.environ["MODEL"], max_retries=0, **settings)


def weather(city: str) -> str:
    """Look up the weather of a city."""
    return f"It rains in {city}."


def ask(llm: Any, messages: list[Any], *, streamed: bool) -> Any:
    if not streamed:
        return llm.invoke(messages)
    pieces = list(llm.stream(messages))
    return sum(pieces[1:], pieces[0])


def texts(llm: Any) -> None:
    for streamed in (False, True):
        messages: list[Any] = []
        for turn, question in enumerate(QUESTIONS, 1):
            messages.append(HumanMessage(question))
            messages.append(ask(llm, messages, streamed=streamed))
            expect_text(messages[-1].text, turn)


def tools(llm: Any) -> None:
    bound = llm.bind_tools([weather])
    for streamed in (False, True):
        messages: list[Any] = []
        for question in QUESTIONS:
            messages.append(HumanMessage(question))
            message = ask(bound, messages, streamed=streamed)
            (call,) = message.tool_calls
            messages += [message, ToolMessage(TOOL_RESULT, tool_call_id=call["id"], name=call["name"])]
            messages.append(ask(bound, messages, streamed=streamed))
            expect_tool_text(messages[-1].text)


def objects(llm: Any) -> None:
    structured_llm = llm.with_structured_output(Weather, include_raw=True)
    messages: list[Any] = []
    for question in QUESTIONS:
        messages.append(HumanMessage(question))
        answer = structured_llm.invoke(messages)
        assert answer["parsed"] == Weather(city="Rome", days=1)
        messages.append(answer["raw"])


def chat_texts() -> None:
    texts(model())


def chat_tools() -> None:
    tools(model())


def chat_parsed() -> None:
    objects(model())


def responses_texts() -> None:
    texts(model(use_responses_api=True))


def responses_tools() -> None:
    tools(model(use_responses_api=True))


def responses_parsed() -> None:
    objects(model(use_responses_api=True))


report(chat_texts, chat_tools, chat_parsed, responses_texts, responses_tools, responses_parsed)
