"""Response bodies of ``POST /v1/completions``."""

from __future__ import annotations

from typing import Literal

from api.openai.schemas.fields import Json
from api.openai.schemas.response_bodies.base import (
    Count,
    FinishReason,
    LogProb,
    ResponseBody,
    StopReason,
    Usage,
)


class CompletionLogProbs(ResponseBody):
    """Log probabilities of a completion: four lists of equal length."""

    text_offset: list[int] = []
    token_logprobs: list[LogProb | None] = []
    tokens: list[str] = []
    top_logprobs: list[dict[str, LogProb] | None] | None = []


class PromptLogProb(ResponseBody):
    """A candidate token at a position of the prompt, with its rank."""

    logprob: LogProb
    rank: Count | None = None
    decoded_token: str | None = None


class CompletionChoice(ResponseBody):
    """One choice, in the order of the prompts; in a stream, an addition to it."""

    index: Count
    text: str
    logprobs: CompletionLogProbs | None
    finish_reason: FinishReason | None
    stop_reason: StopReason | None = None
    token_ids: list[int] | None = None
    prompt_logprobs: list[dict[str, PromptLogProb] | None] | None = None
    prompt_token_ids: list[int] | None = None


class Completion(ResponseBody):
    """A complete completion, or the data of one event of a streamed one."""

    id: str
    object: Literal["text_completion"]
    created: Count
    model: str
    choices: list[CompletionChoice]
    usage: Usage | None = None
    service_tier: str | None = None
    system_fingerprint: str | None = None
    metrics: Json | None = None
