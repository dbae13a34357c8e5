"""The data of the events of a streamed response, and of resumable streams."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import Field, RootModel

from api.openai.responses.schemas.response_object import (
    ItemLogProb,
    Response,
    ResponseContentPart,
    ResponseOutputItem,
)
from api.openai.schemas.response_bodies.base import Count, ResponseBody
from api.openai.schemas.response_bodies.chat import ChatCompletionChunk
from api.openai.schemas.response_bodies.completions import Completion


class StateEvent(ResponseBody):
    """The response changed its state."""

    type: Literal[
        "response.created",
        "response.queued",
        "response.in_progress",
        "response.completed",
        "response.incomplete",
        "response.failed",
    ]
    sequence_number: Count
    response: Response


class ItemEvent(ResponseBody):
    """An item begins or ends."""

    type: Literal["response.output_item.added", "response.output_item.done"]
    sequence_number: Count
    output_index: Count
    item: ResponseOutputItem


class ItemContentEvent(ResponseBody):
    """Base of events about the content of an item."""

    sequence_number: Count
    item_id: str
    output_index: Count


class PartEvent(ItemContentEvent):
    """A part of an item begins or ends."""

    type: Literal["response.content_part.added", "response.content_part.done"]
    content_index: Count
    part: ResponseContentPart


class TextDelta(ItemContentEvent):
    """A piece of text."""

    type: Literal["response.output_text.delta"]
    content_index: Count
    delta: str
    logprobs: list[ItemLogProb]


class TextDone(ItemContentEvent):
    """The complete text of a part."""

    type: Literal["response.output_text.done"]
    content_index: Count
    text: str
    logprobs: list[ItemLogProb]


class ReasoningDelta(ItemContentEvent):
    """A piece of reasoning."""

    type: Literal["response.reasoning_text.delta"]
    content_index: Count
    delta: str


class ReasoningDone(ItemContentEvent):
    """The complete reasoning of a part."""

    type: Literal["response.reasoning_text.done"]
    content_index: Count
    text: str


class ArgumentsDelta(ItemContentEvent):
    """A piece of the arguments of a function call."""

    type: Literal["response.function_call_arguments.delta"]
    delta: str


class ArgumentsDone(ItemContentEvent):
    """The complete arguments of a function call."""

    type: Literal["response.function_call_arguments.done"]
    name: str
    arguments: str


class ErrorEvent(ResponseBody):
    """The stream ends with an error of the catalogue."""

    type: Literal["error"]
    sequence_number: Count
    code: str
    message: str
    param: str | None


Event: TypeAlias = (
    StateEvent
    | ItemEvent
    | PartEvent
    | TextDelta
    | TextDone
    | ReasoningDelta
    | ReasoningDone
    | ArgumentsDelta
    | ArgumentsDone
    | ErrorEvent
)


class ResponseEvent(RootModel[Annotated[Event, Field(discriminator="type")]]):
    """The data of one event of a streamed response. The event's name is its type."""


class StreamData(RootModel[ChatCompletionChunk | Completion | ResponseEvent]):
    """The data of one event of a resumable stream, which depends on the endpoint that created the stream."""
