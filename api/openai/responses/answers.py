"""What ``/v1/responses`` answers: responses, their items, and the events that tell of them."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import Field, RootModel

from api.openai.errors.base import ErrorType
from api.openai.schemas.answers import AnswerModel, ChatCompletionChunk, Completion, Count, LogProb
from api.openai.schemas.fields import Json

ItemStatus: TypeAlias = Literal["in_progress", "completed", "incomplete"]
Byte: TypeAlias = Annotated[int, Field(ge=0, le=255)]


class ItemTopLogProb(AnswerModel):
    """A token that could have stood here."""

    token: str
    bytes: list[Byte]
    logprob: LogProb


class ItemLogProb(ItemTopLogProb):
    """A generated token, with its alternatives."""

    top_logprobs: list[ItemTopLogProb]


class MadeText(AnswerModel):
    """The text of a message."""

    type: Literal["output_text"]
    text: str
    annotations: list[Json]
    logprobs: list[ItemLogProb]


class MadeReasoningText(AnswerModel):
    """The text of reasoning."""

    type: Literal["reasoning_text"]
    text: str


class MadeMessage(AnswerModel):
    """A message of the model."""

    id: Annotated[str, Field(pattern="^msg_")]
    type: Literal["message"]
    status: ItemStatus
    role: Literal["assistant"]
    content: list[MadeText]


class MadeReasoning(AnswerModel):
    """What the model thought."""

    id: Annotated[str, Field(pattern="^rs_")]
    type: Literal["reasoning"]
    status: ItemStatus
    summary: list[Json]
    content: list[MadeReasoningText]


class MadeCall(AnswerModel):
    """A function that the model calls; ``arguments`` is what it wrote."""

    id: Annotated[str, Field(pattern="^fc_")]
    type: Literal["function_call"]
    status: ItemStatus
    call_id: str
    name: str
    arguments: str


MadeItem: TypeAlias = Annotated[MadeMessage | MadeReasoning | MadeCall, Field(discriminator="type")]
MadePart: TypeAlias = Annotated[MadeText | MadeReasoningText, Field(discriminator="type")]


class InputDetails(AnswerModel):
    """``cached_tokens``: those whose state was taken from the prefix cache."""

    cached_tokens: Count
    cache_write_tokens: Count


class OutputDetails(AnswerModel):
    """``reasoning_tokens``: those that were spent on reasoning."""

    reasoning_tokens: Count


class ResponseUsage(AnswerModel):
    """Counted tokens."""

    input_tokens: Count
    input_tokens_details: InputDetails
    output_tokens: Count
    output_tokens_details: OutputDetails
    total_tokens: Count


class ResponseError(AnswerModel):
    """Why a response failed."""

    code: Literal["invalid_prompt", "server_error"]
    message: str
    param: str | None
    type: ErrorType


class IncompleteDetails(AnswerModel):
    """Why a response was cut short."""

    reason: Literal["max_output_tokens", "content_filter"]


class MadeReasoningOptions(AnswerModel):
    """The effort that was asked for."""

    effort: str | None
    summary: None


class MadeTextOptions(AnswerModel):
    """The format that was asked for."""

    format: Json
    verbosity: Literal["medium"]


class Response(AnswerModel):
    """A response as far as it is made, and what it repeats of its request."""

    id: Annotated[str, Field(pattern="^resp_")]
    object: Literal["response"]
    created_at: Count
    completed_at: Count | None
    model: str
    status: Literal["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"]
    output: list[MadeItem]
    usage: ResponseUsage | None
    error: ResponseError | None
    incomplete_details: IncompleteDetails | None
    background: bool
    instructions: str | None
    max_output_tokens: Count | None
    max_tool_calls: None
    metadata: dict[str, str]
    parallel_tool_calls: bool
    previous_response_id: str | None
    prompt_cache_key: str | None
    reasoning: MadeReasoningOptions
    safety_identifier: str | None
    service_tier: Literal["default"]
    store: bool
    temperature: float | None
    text: MadeTextOptions
    tool_choice: str | Json
    tools: list[Json]
    top_logprobs: Count
    top_p: float | None
    truncation: Literal["disabled"]
    user: str | None


class StateEvent(AnswerModel):
    """A response is in another state."""

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


class ItemEvent(AnswerModel):
    """An item begins or ends."""

    type: Literal["response.output_item.added", "response.output_item.done"]
    sequence_number: Count
    output_index: Count
    item: MadeItem


class Placed(AnswerModel):
    """Where in the output something happens."""

    sequence_number: Count
    item_id: str
    output_index: Count


class PartEvent(Placed):
    """A part of an item begins or ends."""

    type: Literal["response.content_part.added", "response.content_part.done"]
    content_index: Count
    part: MadePart


class EventTopLogProb(AnswerModel):
    """A token that could have stood here."""

    token: str
    logprob: LogProb


class EventLogProb(EventTopLogProb):
    """A generated token, with its alternatives."""

    top_logprobs: list[EventTopLogProb]


class TextDelta(Placed):
    """A piece of text."""

    type: Literal["response.output_text.delta"]
    content_index: Count
    delta: str
    logprobs: list[EventLogProb]


class TextDone(Placed):
    """The whole text of a part."""

    type: Literal["response.output_text.done"]
    content_index: Count
    text: str
    logprobs: list[EventLogProb]


class ReasoningDelta(Placed):
    """A piece of reasoning."""

    type: Literal["response.reasoning_text.delta"]
    content_index: Count
    delta: str


class ReasoningDone(Placed):
    """The whole reasoning of a part."""

    type: Literal["response.reasoning_text.done"]
    content_index: Count
    text: str


class ArgumentsDelta(Placed):
    """A piece of the arguments of a call."""

    type: Literal["response.function_call_arguments.delta"]
    delta: str


class ArgumentsDone(Placed):
    """The whole arguments of a call."""

    type: Literal["response.function_call_arguments.done"]
    arguments: str


class ErrorEvent(AnswerModel):
    """A stream breaks off with an error of the catalogue."""

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
    """The data of one event of a streamed response; its type is the name of the event as well."""


class StreamData(RootModel[ChatCompletionChunk | Completion | ResponseEvent]):
    """The data of one event of a resumable stream, whose kind is that of the request that made it."""


class ResponseDeleted(AnswerModel):
    """A response is gone."""

    id: str
    object: Literal["response"]
    deleted: Literal[True]


class StoredItem(AnswerModel, extra="allow"):
    """An item that a response was made of; what else it has depends on its type."""

    id: str
    type: Literal["message", "function_call", "function_call_output", "reasoning"]
    status: ItemStatus


class InputItemList(AnswerModel):
    """A page of what a response was made of."""

    object: Literal["list"]
    data: list[StoredItem]
    first_id: str | None
    last_id: str | None
    has_more: bool
