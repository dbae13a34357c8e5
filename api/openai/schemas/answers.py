"""What the endpoints answer: the schemas of the OpenAPI document, closed so that a test sees what is new."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from api.openai.errors.base import ErrorType
from api.openai.schemas.fields import Json

Count: TypeAlias = Annotated[int, Field(ge=0)]
FinishReason: TypeAlias = Literal["stop", "length", "tool_calls", "content_filter", "function_call"]
LogProb: TypeAlias = Annotated[float, Field(le=0.0)]
StopReason: TypeAlias = int | str


class AnswerModel(BaseModel):
    """Base of all answers. Fields with a default may be left out by engines, or be null."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class ErrorDetail(AnswerModel):
    """One error of the catalogue."""

    message: Annotated[str, Field(min_length=1)]
    type: ErrorType
    param: str | None
    code: str


class ErrorAnswer(AnswerModel):
    """The body of every answer that is no success."""

    error: ErrorDetail


class PromptDetails(AnswerModel):
    """``cached_tokens``: those whose state was taken from the prefix cache."""

    cached_tokens: Count | None = None
    created_cache_tokens: Count | None = None
    multimodal_tokens: dict[str, int] | None = None


class CompletionDetails(AnswerModel):
    """``reasoning_tokens``: those of the answer that were spent on reasoning."""

    reasoning_tokens: Count = 0


class Usage(AnswerModel):
    """Counted tokens."""

    prompt_tokens: Count
    total_tokens: Count
    completion_tokens: Count | None = 0
    prompt_tokens_details: PromptDetails | None = None
    completion_tokens_details: CompletionDetails | None = None


class TopLogProb(AnswerModel):
    """A token that could have stood here, with the logarithm of its probability."""

    token: str
    logprob: LogProb
    bytes: list[Annotated[int, Field(ge=0, le=255)]] | None = None


class TokenLogProb(TopLogProb):
    """A generated token, with its alternatives."""

    top_logprobs: list[TopLogProb] = []


class LogProbs(AnswerModel):
    """Log probabilities of a chat answer."""

    content: list[TokenLogProb] | None = None


class CalledFunction(AnswerModel):
    """``arguments`` is what the model wrote: JSON, if it wrote JSON."""

    name: str
    arguments: str


class CalledTool(AnswerModel):
    """A tool that the model calls."""

    id: str
    type: Literal["function"]
    function: CalledFunction


# That of the last message where the client has asked for no generation prompt.
Speaking = Literal["assistant", "user", "system", "developer", "tool"]


class ChatMessage(AnswerModel):
    """The model's message."""

    role: Speaking
    content: str | None = None
    refusal: str | None = None
    annotations: list[Json] | None = None
    audio: Json | None = None
    function_call: CalledFunction | None = None
    tool_calls: list[CalledTool] = []
    reasoning: str | None = None
    reasoning_content: str | None = None


class ChatChoice(AnswerModel):
    """One of ``n`` answers."""

    index: Count
    message: ChatMessage
    logprobs: LogProbs | None = None
    finish_reason: FinishReason
    stop_reason: StopReason | None = None
    token_ids: list[int] | None = None
    routed_experts: str | None = None


class ChatCompletion(AnswerModel):
    """A whole chat answer. ``object`` and what is below ``choices`` are OpenAI's, some fields vLLM's."""

    id: str
    object: Literal["chat.completion"]
    created: Count
    model: str
    choices: Annotated[list[ChatChoice], Field(min_length=1)]
    usage: Usage
    service_tier: str | None = None
    system_fingerprint: str | None = None
    prompt_logprobs: None = None
    prompt_token_ids: list[int] | None = None
    prompt_text: str | None = None
    kv_transfer_params: None = None
    ec_transfer_params: None = None
    metrics: Json | None = None


class FunctionDelta(AnswerModel):
    """A piece of a call's arguments; the name comes with the first."""

    name: str | None = None
    arguments: str | None = None


class ToolDelta(AnswerModel):
    """A piece of the tool call with this ``index``."""

    index: Count
    id: str | None = None
    type: Literal["function"] | None = None
    function: FunctionDelta | None = None


class ChatDelta(AnswerModel):
    """What is added to a message."""

    role: Speaking | None = None
    content: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    refusal: str | None = None
    tool_calls: list[ToolDelta] | None = None


class ChatChunkChoice(AnswerModel):
    """What is added to the answer with this ``index``."""

    index: Count
    delta: ChatDelta
    logprobs: LogProbs | None = None
    finish_reason: FinishReason | None = None
    stop_reason: StopReason | None = None
    token_ids: list[int] | None = None


class ChatCompletionChunk(AnswerModel):
    """The data of one event of a streamed chat answer; the one with usage has no choices."""

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


class CompletionLogProbs(AnswerModel):
    """Log probabilities of a completion: four lists of one length."""

    text_offset: list[int] = []
    token_logprobs: list[LogProb | None] = []
    tokens: list[str] = []
    top_logprobs: list[dict[str, LogProb] | None] | None = []


class PromptLogProb(AnswerModel):
    """A token that could have stood in the prompt, with its rank among all."""

    logprob: LogProb
    rank: Count | None = None
    decoded_token: str | None = None


class CompletionChoice(AnswerModel):
    """One of the answers, in the order of the prompts; in an event of a stream what is added to it."""

    index: Count
    text: str
    logprobs: CompletionLogProbs | None = None
    finish_reason: FinishReason | None = None
    stop_reason: StopReason | None = None
    token_ids: list[int] | None = None
    prompt_logprobs: list[dict[str, PromptLogProb] | None] | None = None
    prompt_token_ids: list[int] | None = None
    routed_experts: str | None = None


class Completion(AnswerModel):
    """A whole completion, or the data of one event of a streamed one."""

    id: str
    object: Literal["text_completion"]
    created: Count
    model: str
    choices: list[CompletionChoice]
    usage: Usage | None = None
    service_tier: str | None = None
    system_fingerprint: str | None = None
    kv_transfer_params: None = None
    ec_transfer_params: None = None
    metrics: Json | None = None


class Embedding(AnswerModel):
    """One vector: numbers, or their 32-bit floats in base64."""

    index: Count
    object: Literal["embedding"]
    embedding: list[float] | str


class EmbeddingList(AnswerModel):
    """The vectors in the order of the inputs."""

    id: str | None = None
    object: Literal["list"]
    created: Count | None = None
    model: str
    data: Annotated[list[Embedding], Field(min_length=1)]
    usage: Usage


class Tokenized(AnswerModel):
    """The tokens of a text or a conversation."""

    count: Count
    max_model_len: Count
    tokens: list[Count]
    token_strs: list[str] | None = None


class Detokenized(AnswerModel):
    """The text of the tokens."""

    prompt: str


class Model(AnswerModel):
    """A model that the key may use."""

    id: str
    object: Literal["model"]
    created: Count
    owned_by: str


class ModelList(AnswerModel):
    """All models that the key may use and a worker serves."""

    object: Literal["list"]
    data: list[Model]


class StreamState(AnswerModel):
    """How far a resumable stream is."""

    id: str
    object: Literal["stream"]
    status: Literal["in_progress", "completed", "failed", "cancelled"]


class StreamDeleted(AnswerModel):
    """A resumable stream is gone."""

    id: str
    object: Literal["stream.deleted"]
    deleted: Literal[True]


class LiveReport(AnswerModel):
    """The process turns."""

    status: Literal["live"]


class Component(AnswerModel):
    """Whether a part that the gateway needs is there."""

    status: Literal["up", "down"]


class Workers(Component):
    """How many workers are in each state."""

    starting: Count
    loading: Count
    ready: Count
    draining: Count
    failed: Count


class Components(AnswerModel):
    """All parts that the gateway needs."""

    database: Component
    redis: Component
    relay: Component
    workers: Workers


class ReadyReport(AnswerModel):
    """Whether requests can be served now, and by what."""

    status: Literal["ready", "not ready"]
    components: Components
