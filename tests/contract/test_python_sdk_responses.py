"""Responses in the Python SDK: created, streamed, stored, continued, in the background."""

from __future__ import annotations

import json
import time
from typing import Any, Literal

import openai
import pytest
from openai.types.responses import Response, ResponseFunctionToolCall
from pydantic import BaseModel

from tests.patience import PATIENCE_S
from tests.stacks import RunningStack

QUESTION = "What is the capital of France?"
ANSWER = "The capital of France is Paris."
WEATHER: dict[str, Any] = {
    "type": "function",
    "name": "weather",
    "description": "Look up the weather of a city.",
    "strict": True,
    "parameters": {
        "type": "object",
        "properties": {"city": {"enum": ["Paris", "Rome", "Lima"]}},
        "required": ["city"],
        "additionalProperties": False,
    },
}


class Capital(BaseModel):
    """A country with its capital."""

    country: Literal["France", "Italy", "Peru"]
    capital: Literal["Paris", "Rome", "Lima"]


@pytest.fixture
def common(stack: RunningStack) -> dict[str, Any]:
    """Arguments of all requests."""
    return {"model": stack.model, "temperature": 0, "max_output_tokens": 100}


@pytest.mark.criterion("1.4")
@pytest.mark.honours("responses", "input", "store")
def test_a_response_has_the_sdks_type_and_is_stored(client: openai.OpenAI, common: dict[str, Any]) -> None:
    raw = client.responses.with_raw_response.create(input=QUESTION, **common)
    Response.model_validate_json(raw.text, strict=True)
    response = raw.parse()
    assert response.output_text == ANSWER
    assert response.status == "completed"
    assert response.usage is not None
    assert response.usage.total_tokens == response.usage.input_tokens + response.usage.output_tokens > 8
    stored_response = client.responses.retrieve(response.id)
    assert (stored_response.id, stored_response.output, stored_response.usage) == (
        response.id,
        response.output,
        response.usage,
    )
    (item,) = client.responses.input_items.list(response.id)
    assert item.type == "message"


@pytest.mark.criterion("1.3")
@pytest.mark.honours("responses", "stream")
def test_the_events_of_a_stream_add_up_to_the_response(client: openai.OpenAI, common: dict[str, Any]) -> None:
    with client.responses.stream(input=QUESTION, **common) as stream:
        events = list(stream)
        final = stream.get_final_response()
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert (events[0].type, events[-1].type) == ("response.created", "response.completed")
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert "".join(deltas) == final.output_text == ANSWER
    assert len(deltas) > 5


@pytest.mark.honours("responses", "previous_response_id")
def test_a_conversation_continues_from_a_stored_response(
    client: openai.OpenAI, common: dict[str, Any]
) -> None:
    first = client.responses.create(input=QUESTION, **common)
    second = client.responses.create(input="And of Italy?", previous_response_id=first.id, **common)
    assert second.previous_response_id == first.id
    assert "Rome" in second.output_text
    assert first.usage is not None
    assert second.usage is not None
    assert second.usage.input_tokens > first.usage.total_tokens


@pytest.mark.honours("responses", "background")
def test_a_background_response_is_polled_until_it_is_complete(
    client: openai.OpenAI, common: dict[str, Any]
) -> None:
    response = client.responses.create(input=QUESTION, background=True, **common)
    assert response.status in ("queued", "in_progress")
    deadline = time.monotonic() + PATIENCE_S
    while response.status in ("queued", "in_progress") and time.monotonic() < deadline:
        time.sleep(0.1)
        response = client.responses.retrieve(response.id)
    assert (response.status, response.output_text) == ("completed", ANSWER)


@pytest.mark.honours("responses", "background")
def test_a_background_stream_is_closed_and_resumed(client: openai.OpenAI, common: dict[str, Any]) -> None:
    stream = client.responses.create(input=QUESTION, background=True, stream=True, **common)
    before = [next(stream) for _ in range(5)]
    stream.close()
    assert before[0].type == "response.created"
    after = list(
        client.responses.retrieve(
            before[0].response.id, stream=True, starting_after=before[-1].sequence_number
        )
    )
    events = [*before, *after]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert "".join(deltas) == ANSWER
    assert after[-1].type == "response.completed"


@pytest.mark.honours("responses", "background")
def test_a_background_response_can_be_cancelled(client: openai.OpenAI, common: dict[str, Any]) -> None:
    endless = {**common, "max_output_tokens": 4000, "extra_body": {"ignore_eos": True}}
    response = client.responses.create(input=QUESTION, background=True, **endless)
    assert client.responses.cancel(response.id).status == "cancelled"
    assert client.responses.retrieve(response.id).status == "cancelled"


@pytest.mark.honours("responses", "text")
def test_parse_returns_an_instance_of_the_class(client: openai.OpenAI, common: dict[str, Any]) -> None:
    capital = client.responses.parse(input=QUESTION, text_format=Capital, **common).output_parsed
    assert capital == Capital(country="France", capital="Paris")


@pytest.mark.honours("responses", "tools", "tool_choice")
def test_a_tool_is_called_and_its_output_is_sent_back(client: openai.OpenAI, common: dict[str, Any]) -> None:
    tools: Any = {"tools": [WEATHER], "tool_choice": {"type": "function", "name": "weather"}}
    first = client.responses.create(input="How is the weather in Rome?", **tools, **common)
    (call,) = first.output
    assert isinstance(call, ResponseFunctionToolCall)
    assert json.loads(call.arguments)["city"] in ("Paris", "Rome", "Lima")
    second = client.responses.create(
        input=[{"type": "function_call_output", "call_id": call.call_id, "output": "It rains."}],
        previous_response_id=first.id,
        **{**common, "max_output_tokens": 16},
    )
    assert len(second.output_text) > 10


@pytest.mark.criterion("4.2")
def test_a_deleted_response_is_a_not_found_error(client: openai.OpenAI, common: dict[str, Any]) -> None:
    response = client.responses.create(input="x", **{**common, "max_output_tokens": 16})
    client.responses.delete(response.id)
    with pytest.raises(openai.NotFoundError) as excinfo:
        client.responses.retrieve(response.id)
    assert response.id in excinfo.value.message


@pytest.mark.criterion("1.7")
def test_a_bad_request_names_the_parameter(client: openai.OpenAI, common: dict[str, Any]) -> None:
    for arguments, code, param in (
        ({"temperature": 9}, "decimal_above_max_value", "temperature"),
        ({"tool_choice": {"type": "web_search_preview"}}, "unsupported_value", "tool_choice.type"),
        ({"input": "sea " * 9000}, "context_length_exceeded", "input"),
    ):
        with pytest.raises(openai.BadRequestError) as excinfo:
            client.responses.create(**{**common, "input": QUESTION, **arguments})
        assert (excinfo.value.code, excinfo.value.param) == (code, param)
