"""Response bodies of the OpenAPI document: their base, errors, and token counts."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from api.openai.errors.base import ErrorType

Count: TypeAlias = Annotated[int, Field(ge=0)]
FinishReason: TypeAlias = Literal["stop", "length", "tool_calls", "content_filter", "function_call"]
LogProb: TypeAlias = Annotated[float, Field(le=0.0)]
StopReason: TypeAlias = int | str


class ResponseBody(BaseModel):
    """Base of all response bodies. A field with a default may be omitted.

    The worker projects engine output onto these fields, so unknown ones are forbidden.
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class ErrorDetail(ResponseBody):
    """An error of the catalogue."""

    message: Annotated[str, Field(min_length=1)]
    type: ErrorType
    param: str | None
    code: str


class ErrorAnswer(ResponseBody):
    """The body of every error response."""

    error: ErrorDetail


class PromptDetails(ResponseBody):
    """``cached_tokens``: prompt tokens read from the prefix cache; ``cache_write_tokens``: added to it."""

    cached_tokens: Count | None = None
    cache_write_tokens: Count | None = None


class CompletionDetails(ResponseBody):
    """``reasoning_tokens``: completion tokens spent on reasoning."""

    reasoning_tokens: Count = 0


class Usage(ResponseBody):
    """Token counts."""

    prompt_tokens: Count
    total_tokens: Count
    completion_tokens: Count
    prompt_tokens_details: PromptDetails | None = None
    completion_tokens_details: CompletionDetails | None = None
