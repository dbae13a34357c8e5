"""Conversations through OpenAI's agents SDK: each turn continues from the result of the one before."""

from __future__ import annotations

import os
from typing import Any

from agents import (
    Agent,
    OpenAIChatCompletionsModel,
    OpenAIResponsesModel,
    Runner,
    function_tool,
    set_tracing_disabled,
)
from openai import AsyncOpenAI
from pydantic import BaseModel
from turns import QUESTIONS, expect_text, expect_tool_text, report

set_tracing_disabled(True)


class Weather(BaseModel):
    """The weather of a city."""

    city: str
    days: int


@function_tool  # type: ignore[untyped-decorator]
def weather(city: str) -> str:
    """Look up the weather of a city."""
    return f"It rains in {city}."


def agent(kind: Any, **settings: Any) -> Any:
    client = AsyncOpenAI(max_retries=0)
    model = kind(model=os.environ["MODEL"], openai_client=client)
    return Agent(name="helper", instructions="Be brief.", model=model, **settings)


async def ask(helper: Any, items: list[Any], *, streamed: bool) -> Any:
    if not streamed:
        return await Runner.run(helper, items)
    result = Runner.run_streamed(helper, items)
    async for _ in result.stream_events():
        pass
    return result


async def converse(helper: Any, *, tools: bool) -> None:
    for streamed in (False, True):
        items: list[Any] = []
        for turn, question in enumerate(QUESTIONS, 1):
            items.append({"role": "user", "content": question})
            result = await ask(helper, items, streamed=streamed)
            if tools:
                expect_tool_text(result.final_output)
            else:
                expect_text(result.final_output, turn)
            items = result.to_input_list()


async def parse(helper: Any) -> None:
    items: list[Any] = []
    for question in QUESTIONS:
        items.append({"role": "user", "content": question})
        result = await Runner.run(helper, items)
        assert result.final_output == Weather(city="Rome", days=1)
        items = result.to_input_list()


async def chat_texts() -> None:
    await converse(agent(OpenAIChatCompletionsModel), tools=False)


async def chat_tools() -> None:
    await converse(agent(OpenAIChatCompletionsModel, tools=[weather]), tools=True)


async def chat_parsed() -> None:
    await parse(agent(OpenAIChatCompletionsModel, output_type=Weather))


async def responses_texts() -> None:
    await converse(agent(OpenAIResponsesModel), tools=False)


async def responses_tools() -> None:
    await converse(agent(OpenAIResponsesModel, tools=[weather]), tools=True)


async def responses_parsed() -> None:
    await parse(agent(OpenAIResponsesModel, output_type=Weather))


report(chat_texts, chat_tools, chat_parsed, responses_texts, responses_tools, responses_parsed)
