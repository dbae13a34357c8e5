"""Parameters that several endpoints have in common."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from api.openai.schemas.fields import (
    MAX_BAD_WORDS,
    MAX_STOP_TOKENS,
    Fraction,
    Int64,
    ModelName,
    Penalty,
    Stop,
    StopText,
    StreamOptions,
    StructuredOutputs,
    TokenId,
)
from api.openai.schemas.policies import Label
from api.openai.schemas.refused import RefusedParameters
from api.openai.schemas.tools import ResponseFormat

IDENTIFIER = Label("an identifier for abuse detection")


class EngineOptions(RefusedParameters):
    """Parameters of all generating endpoints: OpenAI's, then the vLLM extensions open to tenants."""

    model: ModelName
    stream: bool | None = None
    temperature: Annotated[float, Field(ge=0.0, le=2.0, allow_inf_nan=False)] | None = None
    top_p: Fraction | None = None
    stop: Stop | None = None
    seed: Int64 | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    logit_bias: dict[str, Annotated[float, Field(ge=-100.0, le=100.0, allow_inf_nan=False)]] | None = None
    user: Annotated[str | None, IDENTIFIER] = None

    # vLLM extensions
    top_k: Annotated[int, Field(ge=-1, le=2**31 - 1)] | None = None
    min_p: Fraction | None = None
    repetition_penalty: Annotated[float, Field(ge=0.01, le=10.0, allow_inf_nan=False)] | None = None
    min_tokens: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = None
    ignore_eos: bool | None = None
    stop_token_ids: Annotated[list[TokenId], Field(fail_fast=True, max_length=MAX_STOP_TOKENS)] | None = None
    bad_words: Annotated[list[StopText], Field(fail_fast=True, max_length=MAX_BAD_WORDS)] | None = None
    allowed_token_ids: Annotated[list[TokenId], Field(fail_fast=True, min_length=1)] | None = None
    skip_special_tokens: bool | None = None
    spaces_between_special_tokens: bool | None = None
    include_stop_str_in_output: bool | None = None
    add_special_tokens: bool | None = None
    structured_outputs: StructuredOutputs | None = None
    thinking_token_budget: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = None

    @property
    def is_streamed(self) -> bool:
        """True if the response is a stream of events."""
        return bool(self.stream)


class Sampling(EngineOptions):
    """Further parameters that chat completions and completions have in common."""

    stream_options: StreamOptions | None = None
    n: Annotated[int, Field(ge=1, le=128)] | None = None
    response_format: ResponseFormat | None = None
    return_token_ids: bool | None = None
    return_tokens_as_token_ids: bool | None = None
    logprob_token_ids: (
        Annotated[list[TokenId], Field(fail_fast=True, min_length=1, max_length=128)] | None
    ) = None
    stream_interval: Annotated[int, Field(ge=1, le=1024)] | None = None

    @property
    def is_constrained(self) -> bool:
        """True if the output must have a certain form."""
        has_format = self.response_format is not None and self.response_format.type != "text"
        return has_format or self.structured_outputs is not None
