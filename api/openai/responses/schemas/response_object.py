"""Response bodies of ``/v1/responses``: the response object and its items."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from api.openai.errors.base import ErrorType
from api.openai.schemas.fields import Json
from api.openai.schemas.response_bodies.base import Count, LogProb, ResponseBody

ItemStatus: TypeAlias = Literal["in_progress", "completed", "incomplete"]
Byte: TypeAlias = Annotated[int, Field(ge=0, le=255)]


class ItemTopLogProb(ResponseBody):
    """An alternative token, with its log probability."""

    token: str
    bytes: list[Byte]
    logprob: LogProb


class ItemLogProb(ItemTopLogProb):
    """A generated token, with its alternatives."""

    top_logprobs: list[ItemTopLogProb]


class ResponseOutputText(ResponseBody):
    """The text of a message."""

    type: Literal["output_text"]
    text: str
    annotations: list[Json]
    logprobs: list[ItemLogProb]


class ResponseReasoningText(ResponseBody):
    """The text of reasoning."""

    type: Literal["reasoning_text"]
    text: str


class ResponseOutputMessage(ResponseBody):
    """A message of the model."""

    id: Annotated[str, Field(pattern="^msg_")]
    type: Literal["message"]
    status: ItemStatus
    role: Literal["assistant"]
    content: list[ResponseOutputText]


class ResponseReasoningItem(ResponseBody):
    """The model's reasoning."""

    id: Annotated[str, Field(pattern="^rs_")]
    type: Literal["reasoning"]
    status: ItemStatus
    summary: list[Json]
    content: list[ResponseReasoningText]


class ResponseFunctionCall(ResponseBody):
    """A function call of the model. ``arguments`` is the model's text, which may be invalid JSON."""

    id: Annotated[str, Field(pattern="^fc_")]
    type: Literal["function_call"]
    status: ItemStatus
    call_id: str
    name: str
    arguments: str
    namespace: str | None = None


ResponseOutputItem: TypeAlias = Annotated[
    ResponseOutputMessage | ResponseReasoningItem | ResponseFunctionCall, Field(discriminator="type")
]
ResponseContentPart: TypeAlias = Annotated[
    ResponseOutputText | ResponseReasoningText, Field(discriminator="type")
]


class InputDetails(ResponseBody):
    """``cached_tokens``: input tokens read from the prefix cache."""

    cached_tokens: Count
    cache_write_tokens: Count


class OutputDetails(ResponseBody):
    """``reasoning_tokens``: output tokens spent on reasoning."""

    reasoning_tokens: Count


class ResponseUsage(ResponseBody):
    """Token counts."""

    input_tokens: Count
    input_tokens_details: InputDetails
    output_tokens: Count
    output_tokens_details: OutputDetails
    total_tokens: Count


class ResponseError(ResponseBody):
    """The error of a failed response."""

    code: Literal["invalid_prompt", "server_error"]
    message: str
    param: str | None
    type: ErrorType


class IncompleteDetails(ResponseBody):
    """The reason for an incomplete response."""

    reason: Literal["max_output_tokens", "content_filter"]


class ResponseReasoningOptions(ResponseBody):
    """The requested reasoning effort."""

    effort: str | None
    summary: None


class ResponseTextOptions(ResponseBody):
    """The requested text format."""

    format: Json
    verbosity: Literal["medium"]


class Response(ResponseBody):
    """A response with its output so far, and the parameters of its request."""

    id: Annotated[str, Field(pattern="^resp_")]
    object: Literal["response"]
    created_at: Count
    completed_at: Count | None
    model: str
    status: Literal["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"]
    output: list[ResponseOutputItem]
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
    reasoning: ResponseReasoningOptions
    safety_identifier: str | None
    service_tier: Literal["flex", "default", "priority"]
    store: bool
    temperature: float
    text: ResponseTextOptions
    tool_choice: str | Json
    tools: list[Json]
    top_logprobs: Count
    top_p: float
    presence_penalty: float
    frequency_penalty: float
    truncation: Literal["disabled"]
    user: str | None


class InputTokenCount(ResponseBody):
    """The number of tokens of a prompt."""

    object: Literal["response.input_tokens"]
    input_tokens: Count


class CompactedMessage(ResponseBody):
    """A message to the model, as it was in the conversation."""

    id: str
    type: Literal["message"]
    status: ItemStatus
    role: Literal["user", "system", "developer"]
    content: list[Json]


class ResponseCompactionItem(ResponseBody):
    """Stands for the conversation in the input of a later request. Its content is opaque."""

    id: Annotated[str, Field(pattern="^cmp_")]
    type: Literal["compaction"]
    encrypted_content: str


class CompactedResponse(ResponseBody):
    """The items that replace a conversation: the messages to the model, and a summary as the last."""

    id: Annotated[str, Field(pattern="^resp_")]
    object: Literal["response.compaction"]
    created_at: Count
    output: list[Annotated[CompactedMessage | ResponseCompactionItem, Field(discriminator="type")]]
    usage: ResponseUsage


class ResponseDeleted(ResponseBody):
    """Confirms that a response was deleted."""

    id: str
    object: Literal["response"]
    deleted: Literal[True]


class StoredItem(ResponseBody, extra="allow"):
    """An input item of a response; its other fields depend on its type."""

    id: str
    type: str
    status: ItemStatus | None = None


class InputItemList(ResponseBody):
    """A page of the input items of a response."""

    object: Literal["list"]
    data: list[StoredItem]
    first_id: str | None
    last_id: str | None
    has_more: bool
