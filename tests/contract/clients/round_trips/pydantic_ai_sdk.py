"""Conversations through Pydantic AI: each turn gets all messages of the one before."""

from __future__ import annotations

import os
from typing import Any

from pydantic import BaseModel
from pydantic_ai import Agent, NativeOutput
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from turns import QUESTIONS, expect_text, expect_tool_text, report


class Weather(BaseModel):
    """The weather of a city."""

    city: str
    days: int


def weather(city: str) -> str:
    """Look up the weather of a city."""
    return f"It rains in {city}."


def agent(kind: Any, **settings: Any) -> Any:
    return Agent(kind(os.environ["MODEL"]), instructions="Be brief.", **settings)


async def ask(helper: Any, question: str, history: list[Any], *, streamed: bool) -> tuple[Any, list[Any]]:
    if not streamed:
        result = await helper.run(question, message_history=history)
        return result.output, result.all_messages()
    async with helper.run_stream(question, message_history=history) as stream:
        return await stream.get_output(), stream.all_messages()


async def converse(helper: Any, *, tools: bool) -> None:
    for streamed in (False, True):
        history: list[Any] = []
        for turn, question in enumerate(QUESTIONS, 1):
            output, history = await ask(helper, question, history, streamed=streamed)
            if tools:
                expect_tool_text(output)
            else:
                expect_text(output, turn)


async def parse(kind: Any) -> None:
    for output_type in (Weather, NativeOutput(Weather)):
        history: list[Any] = []
        for question in QUESTIONS:
            output, history = await ask(
                agent(kind, output_type=output_type), question, history, streamed=False
            )
            assert output == Weather(city="Rome", days=1)


async def chat_texts() -> None:
    await converse(agent(OpenAIChatModel), tools=False)


async def chat_tools() -> None:
    await converse(agent(OpenAIChatModel, tools=[weather]), tools=True)


async def chat_parsed() -> None:
    await parse(OpenAIChatModel)


async def responses_texts() -> None:
    await converse(agent(OpenAIResponsesModel), tools=False)


async def responses_tools() -> None:
    await converse(agent(OpenAIResponsesModel, tools=[weather]), tools=True)


async def responses_parsed() -> None:
    await parse(OpenAIResponsesModel)


report(chat_texts, chat_tools, chat_parsed, responses_texts, responses_tools, responses_parsed)
