"""Response bodies of ``POST /v1/chat/completions``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from api.openai.schemas.fields import Json
from api.openai.schemas.response_bodies.base import (
    Count,
    FinishReason,
    LogProb,
    ResponseBody,
    StopReason,
    Usage,
)


class TopLogProb(ResponseBody):
    """An alternative token, with its log probability."""

    token: str
    logprob: LogProb
    bytes: list[Annotated[int, Field(ge=0, le=255)]] | None = None


class TokenLogProb(TopLogProb):
    """A generated token, with its alternatives."""

    top_logprobs: list[TopLogProb] = []


class LogProbs(ResponseBody):
    """Log probabilities of a chat completion."""

    content: list[TokenLogProb] | None
    refusal: list[TokenLogProb] | None


class CalledFunction(ResponseBody):
    """The function of a tool call. ``arguments`` is the model's text, which may be invalid JSON."""

    name: str
    arguments: str


class CalledTool(ResponseBody):
    """A tool call of the model."""

    id: str
    type: Literal["function"]
    function: CalledFunction


# With add_generation_prompt=false, the role is that of the last message of the request.
Role = Literal["assistant", "user", "system", "developer", "tool"]


class ChatMessage(ResponseBody):
    """The model's message."""

    role: Role
    content: str | None
    refusal: str | None
    annotations: list[Json] = []
    function_call: CalledFunction | None = None
    tool_calls: list[CalledTool] = []
    reasoning: str | None = None
    reasoning_content: str | None = None


class ChatChoice(ResponseBody):
    """One of ``n`` choices."""

    index: Count
    message: ChatMessage
    logprobs: LogProbs | None
    finish_reason: FinishReason
    stop_reason: StopReason | None = None
    token_ids: list[int] | None = None


class ChatCompletion(ResponseBody):
    """A complete chat completion. Most fields are OpenAI's, some are vLLM's."""

    id: str
    object: Literal["chat.completion"]
    created: Count
    model: str
    choices: Annotated[list[ChatChoice], Field(min_length=1)]
    usage: Usage
    service_tier: str | None = None
    system_fingerprint: str | None = None
    prompt_token_ids: list[int] | None = None
    prompt_text: str | None = None
    metrics: Json | None = None


class FunctionDelta(ResponseBody):
    """A piece of the arguments; the first delta of a call also has the name."""

    name: str | None = None
    arguments: str | None = None


class ToolDelta(ResponseBody):
    """A piece of the tool call with this ``index``."""

    index: Count
    id: str | None = None
    type: Literal["function"] | None = None
    function: FunctionDelta | None = None


class ChatDelta(ResponseBody):
    """An addition to a message."""

    role: Role | None = None
    content: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    refusal: str | None = None
    tool_calls: list[ToolDelta] | None = None
    function_call: FunctionDelta | None = None


class ChatChunkChoice(ResponseBody):
    """An addition to the choice with this ``index``."""

    index: Count
    delta: ChatDelta
    logprobs: LogProbs | None = None
    finish_reason: FinishReason | None
    stop_reason: StopReason | None = None
    token_ids: list[int] | None = None


class ChatCompletionChunk(ResponseBody):
    """The data of one event of a streamed chat completion. The chunk with the usage has no choices."""

    id: str
    object: Literal["chat.completion.chunk"]
    created: Count
    model: str
    choices: list[ChatChunkChoice]
    usage: Usage | None = None
    service_tier: str | None = None
    system_fingerprint: str | None = None
    prompt_token_ids: list[int] | None = None
    prompt_text: str | None = None
    metrics: Json | None = None
