"""The schema of ``POST /v1/chat/completions``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from api.openai.schemas.fields import MAX_METADATA, MAX_TOOLS, Json
from api.openai.schemas.messages import Message
from api.openai.schemas.policies import Fixed, Hint, Label, Platform, Refused, Wire
from api.openai.schemas.sampling import IDENTIFIER, Sampling
from api.openai.schemas.tools import (
    CACHED_AUTOMATICALLY,
    AnyTool,
    Function,
    FunctionChoice,
    FunctionName,
    ToolChoice,
)

Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
Identifier = Annotated[str, Field(max_length=512)]
MetadataValue = Annotated[str, Field(max_length=512)]
Metadata = Annotated[dict[str, MetadataValue], Field(max_length=MAX_METADATA)]
TokenLimit = Annotated[int, Field(ge=1, le=2**31 - 1)]
ServiceTier = Literal["auto", "default", "flex", "scale", "priority", "fast", "ultrafast"]
Verbosity = Literal["low", "medium", "high"]
Retention = Literal["in_memory", "in-memory", "24h"]

CACHE_KEY = Label("a cache routing hint; the prefix cache finds shared prefixes on its own")
RETENTION = Hint("prefixes stay cached until their memory is needed")
CACHE_OPTIONS = Hint(CACHED_AUTOMATICALLY)
VERBOSITY = Hint("models have no setting for it", ("medium",))
_TEXT_ONLY = "only text is generated"


class HintedParameters(Wire):
    """Labels and hints that chat completions and responses have in common."""

    safety_identifier: Annotated[Identifier | None, IDENTIFIER] = None
    prompt_cache_key: Annotated[Identifier | None, CACHE_KEY] = None
    prompt_cache_retention: Annotated[Retention | None, RETENTION] = None
    prompt_cache_options: Annotated[Json | None, CACHE_OPTIONS] = None
    service_tier: Annotated[ServiceTier | None, Platform()] = None


class ChatRequest(Sampling, HintedParameters):
    """All parameters of a chat completion."""

    messages: Annotated[list[Message], Field(fail_fast=True, min_length=1)]
    max_tokens: TokenLimit | None = None
    max_completion_tokens: TokenLimit | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    tools: Annotated[list[AnyTool], Field(fail_fast=True, max_length=MAX_TOOLS)] | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    functions: Annotated[list[Function], Field(fail_fast=True, max_length=MAX_TOOLS)] | None = None
    function_call: FunctionChoice | None = None
    reasoning_effort: Effort | None = None

    metadata: Annotated[
        Metadata | None, Label("labels for stored completions; completions are not stored")
    ] = None
    store: Annotated[bool | None, Hint("completions are not stored", (False,))] = None
    modalities: Annotated[
        Annotated[list[Literal["text", "audio"]], Field(fail_fast=True)] | None,
        Fixed("only text is generated, so only ['text'] is supported"),
    ] = None
    verbosity: Annotated[Verbosity | None, VERBOSITY] = None
    prediction: Annotated[Json | None, Hint("predicted outputs don't speed up generation")] = None

    audio: Annotated[None, Refused(_TEXT_ONLY)] = None
    moderation: Annotated[None, Refused("moderation is not available")] = None
    web_search_options: Annotated[None, Refused("web search is not available; define a tool of your own")] = (
        None
    )
    echo: Annotated[None, Refused("chat completions never repeat the conversation")] = None

    # vLLM extensions
    chat_template_kwargs: Json | None = None
    add_generation_prompt: bool | None = None
    continue_final_message: bool | None = None
    include_reasoning: bool | None = None
    return_prompt_text: bool | None = None

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
        is_call_forced = isinstance(self.function_call, FunctionName)
        return super().is_constrained or is_call_forced or self.tool_choice not in (None, "none", "auto")
