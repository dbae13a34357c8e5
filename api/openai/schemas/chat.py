"""The schema of ``POST /v1/chat/completions``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from api.openai.schemas.fields import Json
from api.openai.schemas.messages import Message
from api.openai.schemas.sampling import Sampling
from api.openai.schemas.tools import Tool, ToolChoice

Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
Identifier = Annotated[str, Field(max_length=512)]
MetadataValue = Annotated[str, Field(max_length=512)]
TokenLimit = Annotated[int, Field(ge=1, le=2**31 - 1)]


class ChatRequest(Sampling):
    """All supported parameters, including those that have no effect by definition."""

    messages: Annotated[list[Message], Field(fail_fast=True, min_length=1)]
    max_tokens: TokenLimit | None = None
    max_completion_tokens: TokenLimit | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    tools: Annotated[list[Tool], Field(fail_fast=True, min_length=1, max_length=128)] | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    reasoning_effort: Effort | None = None

    metadata: Annotated[dict[str, MetadataValue], Field(max_length=16)] | None = None
    safety_identifier: Identifier | None = None
    prompt_cache_key: Identifier | None = None
    store: bool | None = None
    service_tier: Literal["auto", "default", "flex", "scale", "priority", "fast"] | None = None
    modalities: Annotated[list[Literal["text", "audio"]], Field(fail_fast=True)] | None = None
    verbosity: Literal["low", "medium", "high"] | None = None

    # vLLM extensions
    chat_template_kwargs: Json | None = None
    add_generation_prompt: bool | None = None
    continue_final_message: bool | None = None
    include_reasoning: bool | None = None

    @property
    def completion_limit(self) -> int | None:
        """The maximum tokens of one choice, None without a limit."""
        return self.max_completion_tokens or self.max_tokens

    @property
    def choices(self) -> int:
        """The number of choices."""
        return self.n or 1

    @property
    def is_constrained(self) -> bool:
        """True if the output must have a certain form; a required tool call is one."""
        return super().is_constrained or self.tool_choice not in (None, "none", "auto")
