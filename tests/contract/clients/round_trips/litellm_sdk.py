"""Conversations through the SDK of LiteLLM: each message is appended as LiteLLM returned it."""

from __future__ import annotations

import os
from typing import Any

import litellm
from pydantic import BaseModel
from turns import QUESTIONS, TOOL_RESULT, expect_text, expect_tool_text, report

litellm.suppress_debug_info = True


class Weather(BaseModel):
    """The weather of a city."""

    city: str
    days: int


TOOL: Any = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


def ask(messages: list[Any], *, streamed: bool, **settings: Any) -> Any:
    answer: Any = litellm.completion(
        model="openai/" + os.environ["MODEL"],
        messages=messages,
        stream=streamed,
        api_base=os.environ["OPENAI_BASE_URL"],
        num_retries=0,
        **settings,
    )
    if streamed:
        answer = litellm.stream_chunk_builder(list(answer), messages=messages)
    return answer.choices[0].message


def chat_texts() -> None:
    for streamed in (False, True):
        messages: list[Any] = []
        for turn, question in enumerate(QUESTIONS, 1):
            messages.append({"role": "user", "content": question})
            message = ask(messages, streamed=streamed)
            expect_text(message.content, turn)
            messages.append(message if turn == 1 else message.model_dump())


def chat_tools() -> None:
    for streamed in (False, True):
        messages: list[Any] = []
        for turn, question in enumerate(QUESTIONS, 1):
            messages.append({"role": "user", "content": question})
            message = ask(messages, streamed=streamed, tools=[TOOL])
            messages.append(message if turn == 1 else message.model_dump())
            (call,) = message.tool_calls
            result = {"role": "tool", "tool_call_id": call.id, "name": "weather", "content": TOOL_RESULT}
            messages.append(result)
            message = ask(messages, streamed=streamed, tools=[TOOL])
            expect_tool_text(message.content)
            messages.append(message)


def chat_parsed() -> None:
    messages: list[Any] = []
    for question in QUESTIONS:
        messages.append({"role": "user", "content": question})
        message = ask(messages, streamed=False, response_format=Weather)
        assert Weather.model_validate_json(message.content) == Weather(city="Rome", days=1)
        messages.append(message)


def respond(items: list[Any], *, streamed: bool, **settings: Any) -> Any:
    answer: Any = litellm.responses(
        model="openai/" + os.environ["MODEL"],
        input=items,
        stream=streamed,
        api_base=os.environ["OPENAI_BASE_URL"],
        **settings,
    )
    if streamed:
        *_, last = answer
        answer = last.response
    return answer


def responses_texts() -> None:
    for streamed in (False, True):
        items: list[Any] = []
        for turn, question in enumerate(QUESTIONS, 1):
            items.append({"role": "user", "content": question})
            response = respond(items, streamed=streamed)
            expect_text(response.output[-1].content[0].text, turn)
            items += [item.model_dump() for item in response.output]


def responses_tools() -> None:
    tool = {"type": "function", **TOOL["function"]}
    for streamed in (False, True):
        items: list[Any] = []
        for question in QUESTIONS:
            items.append({"role": "user", "content": question})
            response = respond(items, streamed=streamed, tools=[tool])
            items += [item.model_dump() for item in response.output]
            call = response.output[-1]
            items.append({"type": "function_call_output", "call_id": call.call_id, "output": TOOL_RESULT})
            response = respond(items, streamed=streamed, tools=[tool])
            expect_tool_text(response.output[-1].content[0].text)
            items += [item.model_dump() for item in response.output]


report(chat_texts, chat_tools, chat_parsed, responses_texts, responses_tools)
