"""Conversations through the official SDK, with each of its helpers, built as its documentation does."""

from __future__ import annotations

import json
import os
from typing import Any

import openai
from openai import OpenAI
from pydantic import BaseModel
from turns import QUESTIONS, TOOL_RESULT, expect_text, expect_tool_text, report

MODEL = os.environ["MODEL"]
client = OpenAI(max_retries=0)


class Weather(BaseModel):
    """Look up the weather of a city."""

    city: str
    days: int


CHAT_TOOL = openai.pydantic_function_tool(Weather)
RESPONSE_TOOL: Any = {
    "type": "function",
    "name": "Weather",
    "parameters": CHAT_TOOL["function"]["parameters"],
}


def chat_plain() -> None:
    messages: list[Any] = [{"role": "system", "content": "Be brief."}]
    for turn, question in enumerate(QUESTIONS, 1):
        messages.append({"role": "user", "content": question})
        message = client.chat.completions.create(model=MODEL, messages=messages).choices[0].message
        expect_text(message.content, turn)
        messages.append(message if turn == 1 else message.model_dump())


def chat_streamed() -> None:
    messages: list[Any] = []
    for turn, question in enumerate(QUESTIONS, 1):
        messages.append({"role": "user", "content": question})
        with client.chat.completions.stream(model=MODEL, messages=messages) as stream:
            message = stream.get_final_completion().choices[0].message
        expect_text(message.content, turn)
        messages.append(message if turn == 1 else message.model_dump())


def chat_parsed() -> None:
    messages: list[Any] = []
    for turn, question in enumerate(QUESTIONS, 1):
        messages.append({"role": "user", "content": question})
        settings: Any = {"model": MODEL, "messages": messages, "response_format": Weather}
        if turn == 2:
            with client.chat.completions.stream(**settings) as stream:
                message = stream.get_final_completion().choices[0].message
        else:
            message = client.chat.completions.parse(**settings).choices[0].message
        assert message.parsed == Weather(city="Rome", days=1)
        messages.append(message)


def chat_tools() -> None:
    messages: list[Any] = []
    for turn, question in enumerate(QUESTIONS, 1):
        messages.append({"role": "user", "content": question})
        for step in range(2):
            settings: Any = {"model": MODEL, "messages": messages, "tools": [CHAT_TOOL]}
            if turn == 2:
                with client.chat.completions.stream(**settings) as stream:
                    message = stream.get_final_completion().choices[0].message
            elif turn == 3:
                message = client.chat.completions.parse(**settings).choices[0].message
            else:
                message = client.chat.completions.create(**settings).choices[0].message
            messages.append(message)
            if step == 0:
                assert message.tool_calls
                call = message.tool_calls[0]
                assert json.loads(call.function.arguments) == {"city": "Rome", "days": 1}
                messages.append({"role": "tool", "tool_call_id": call.id, "content": TOOL_RESULT})
        expect_tool_text(message.content)


def responses_plain() -> None:
    items: list[Any] = []
    for turn, question in enumerate(QUESTIONS, 1):
        items.append({"role": "user", "content": question})
        response = client.responses.create(model=MODEL, input=items, store=False)
        expect_text(response.output_text, turn)
        items += response.output if turn == 1 else [item.model_dump() for item in response.output]


def responses_stored() -> None:
    previous = None
    for turn, question in enumerate(QUESTIONS, 1):
        response = client.responses.create(model=MODEL, input=question, previous_response_id=previous)
        expect_text(response.output_text, turn)
        previous = response.id


def responses_streamed() -> None:
    items: list[Any] = []
    for turn, question in enumerate(QUESTIONS, 1):
        items.append({"role": "user", "content": question})
        with client.responses.stream(model=MODEL, input=items) as stream:
            response = stream.get_final_response()
        expect_text(response.output_text, turn)
        items += response.output


def responses_parsed() -> None:
    items: list[Any] = []
    for turn, question in enumerate(QUESTIONS, 1):
        items.append({"role": "user", "content": question})
        settings: Any = {"model": MODEL, "input": items, "text_format": Weather}
        if turn == 2:
            with client.responses.stream(**settings) as stream:
                response: Any = stream.get_final_response()
        else:
            response = client.responses.parse(**settings)
        assert response.output_parsed == Weather(city="Rome", days=1)
        items += response.output


def responses_tools() -> None:
    items: list[Any] = []
    for turn, question in enumerate(QUESTIONS, 1):
        items.append({"role": "user", "content": question})
        for step in range(2):
            settings: Any = {"model": MODEL, "input": items, "tools": [RESPONSE_TOOL]}
            if turn == 2:
                with client.responses.stream(**settings) as stream:
                    response: Any = stream.get_final_response()
            elif turn == 3:
                response = client.responses.parse(**settings)
            else:
                response = client.responses.create(**settings)
            items += response.output
            if step == 0:
                call = next(item for item in response.output if item.type == "function_call")
                result = {"type": "function_call_output", "call_id": call.call_id, "output": TOOL_RESULT}
                items.append(result)
        expect_tool_text(response.output_text)


report(
    chat_plain,
    chat_streamed,
    chat_parsed,
    chat_tools,
    responses_plain,
    responses_stored,
    responses_streamed,
    responses_parsed,
    responses_tools,
)
