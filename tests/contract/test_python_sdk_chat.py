"""Helpers of the Python SDK for chat completions: parsing, tools, log-probs, choices, streams."""

from __future__ import annotations

import asyncio
import json
from typing import Any, Literal

import openai
import pytest
from openai.lib.streaming.chat import ContentDoneEvent, FunctionToolCallArgumentsDoneEvent
from openai.types.chat import ChatCompletionMessageParam
from pydantic import BaseModel, Field

from tests.stacks import RunningStack

QUESTION: list[ChatCompletionMessageParam] = [{"role": "user", "content": "What is the capital of France?"}]
ANSWER = "The capital of France is Paris."
GREEDY: dict[str, Any] = {"messages": QUESTION, "temperature": 0, "max_tokens": 80}


class Capital(BaseModel):
    """A country with its capital."""

    country: Literal["France", "Italy", "Peru"]
    capital: Literal["Paris", "Rome", "Lima"]


class Weather(BaseModel):
    """Look up the weather of a city."""

    city: Literal["Paris", "Rome", "Lima"]
    days: int = Field(ge=1, le=9)


TOOLS: dict[str, Any] = {
    "tools": [openai.pydantic_function_tool(Weather)],
    "tool_choice": {"type": "function", "function": {"name": "Weather"}},
}


@pytest.mark.criterion("1.6")
@pytest.mark.honours("chat", "response_format")
def test_parse_returns_an_instance_of_the_class(client: openai.OpenAI, stack: RunningStack) -> None:
    answer = client.chat.completions.parse(model=stack.model, response_format=Capital, **GREEDY)
    assert answer.choices[0].message.parsed == Capital(country="France", capital="Paris")


@pytest.mark.criterion("1.6")
def test_the_stream_helper_parses_the_assembled_text(client: openai.OpenAI, stack: RunningStack) -> None:
    with client.chat.completions.stream(model=stack.model, response_format=Capital, **GREEDY) as stream:
        events = list(stream)
        final = stream.get_final_completion()
    (done_events,) = [event for event in events if isinstance(event, ContentDoneEvent)]
    assert done_events.parsed == final.choices[0].message.parsed == Capital(country="France", capital="Paris")
    assert done_events.content == "".join(event.delta for event in events if event.type == "content.delta")
    assert final.choices[0].finish_reason == "stop"


@pytest.mark.criterion("1.6")
@pytest.mark.honours("chat", "tools", "tool_choice")
def test_a_forced_tool_has_arguments_that_match_its_class(client: openai.OpenAI, stack: RunningStack) -> None:
    answer = client.chat.completions.parse(model=stack.model, **GREEDY, **TOOLS)
    calls = answer.choices[0].message.tool_calls
    assert calls is not None
    assert [call.function.name for call in calls] == ["Weather"]
    assert isinstance(calls[0].function.parsed_arguments, Weather)


@pytest.mark.criterion("1.6")
def test_a_streamed_tool_call_is_the_whole_one(client: openai.OpenAI, stack: RunningStack) -> None:
    plain = client.chat.completions.parse(model=stack.model, **GREEDY, **TOOLS).choices[0]
    with client.chat.completions.stream(model=stack.model, **GREEDY, **TOOLS) as stream:
        done_events = [event for event in stream if isinstance(event, FunctionToolCallArgumentsDoneEvent)]
        final = stream.get_final_completion().choices[0]
    assert plain.message.tool_calls is not None
    function = plain.message.tool_calls[0].function
    assert [(event.name, json.loads(event.arguments)) for event in done_events] == [
        (function.name, json.loads(function.arguments))
    ]
    assert done_events[0].parsed_arguments == function.parsed_arguments
    assert final.finish_reason == plain.finish_reason


@pytest.mark.criterion("1.6")
@pytest.mark.honours("chat", "logprobs", "top_logprobs")
def test_logprobs_are_the_same_in_a_stream(client: openai.OpenAI, stack: RunningStack) -> None:
    arguments = {**GREEDY, "max_tokens": 16, "logprobs": True, "top_logprobs": 3}
    plain = client.chat.completions.create(model=stack.model, **arguments).choices[0].logprobs
    with client.chat.completions.stream(model=stack.model, **arguments) as stream:
        streamed = stream.get_final_completion().choices[0].logprobs
    assert plain is not None
    assert streamed is not None
    assert plain.content is not None
    assert streamed.content is not None
    assert [entry.token for entry in plain.content] == [entry.token for entry in streamed.content]
    for one, other in zip(plain.content, streamed.content, strict=True):
        assert one.logprob == pytest.approx(other.logprob, abs=1e-4)
        assert len(one.top_logprobs) == 3
        assert one.top_logprobs[0].token == one.token
        assert bytes(one.bytes or []).decode() == one.token


@pytest.mark.criterion("1.6")
@pytest.mark.honours("chat", "n", "seed", "temperature")
def test_several_choices_differ_and_a_seed_repeats_them(client: openai.OpenAI, stack: RunningStack) -> None:
    arguments = {**GREEDY, "temperature": 1.5, "max_tokens": 12, "n": 3, "seed": 7}
    first, second = (client.chat.completions.create(model=stack.model, **arguments).choices for _ in range(2))
    texts = [choice.message.content for choice in first]
    assert [choice.index for choice in first] == [0, 1, 2]
    assert len(set(texts)) == 3
    assert texts == [choice.message.content for choice in second]


@pytest.mark.criterion("1.3")
def test_a_raw_stream_has_headers_before_its_events(client: openai.OpenAI, stack: RunningStack) -> None:
    headers = {"X-Request-ID": "contract-raw-stream"}
    arguments: dict[str, Any] = {"model": stack.model, "stream": True, "extra_headers": headers, **GREEDY}
    raw = client.chat.completions.with_raw_response.create(**arguments)
    assert raw.status_code == 200
    assert raw.headers["content-type"].startswith("text/event-stream")
    assert raw.request_id == "contract-raw-stream"
    text = "".join(chunk.choices[0].delta.content or "" for chunk in raw.parse() if chunk.choices)
    assert text == ANSWER


@pytest.mark.criterion("1.1")
async def test_the_asynchronous_client_separates_concurrent_responses(stack: RunningStack) -> None:
    async with openai.AsyncOpenAI(base_url=f"{stack.base_url}/v1", api_key=stack.key) as client:

        async def ask(country: str) -> str:
            stream = await client.chat.completions.create(
                model=stack.model,
                messages=[{"role": "user", "content": f"What is the capital of {country}?"}],
                temperature=0,
                max_tokens=16,
                stream=True,
            )
            return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

        answers = await asyncio.gather(*(ask(country) for country in ("France", "Germany", "Japan")))
    for answer, capital in zip(answers, ("Paris", "Berlin", "Tokyo"), strict=True):
        assert capital in answer
