"""Objects through instructor: each answer is appended as instructor returned it."""

from __future__ import annotations

import os
from typing import Any

import instructor
from openai import OpenAI
from pydantic import BaseModel
from turns import QUESTIONS, report


class Weather(BaseModel):
    """The weather of a city."""

    city: str
    days: int


def converse(mode: Any) -> None:
    client = instructor.from_openai(OpenAI(max_retries=0), mode=mode)
    messages: list[Any] = []
    for question in QUESTIONS:
        messages.append({"role": "user", "content": question})
        settings: Any = {"model": os.environ["MODEL"], "messages": messages, "max_retries": 0}
        weather, completion = client.chat.completions.create_with_completion(
            response_model=Weather, **settings
        )
        assert weather.model_dump() == {"city": "Rome", "days": 1}
        *_, streamed = client.chat.completions.create_partial(response_model=Weather, **settings)
        assert streamed.city == "Rome"
        message = completion.choices[0].message
        messages.append(message.model_dump())  # instructor accepts dictionaries only
        for call in message.tool_calls or ():
            messages.append({"role": "tool", "tool_call_id": call.id, "content": "Thank you."})


def chat_tools() -> None:
    converse(instructor.Mode.TOOLS)


def chat_schema() -> None:
    converse(instructor.Mode.JSON_SCHEMA)


report(chat_tools, chat_schema)
