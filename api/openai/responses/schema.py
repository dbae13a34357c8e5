"""The schema of ``POST /v1/responses``."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Discriminator, Field, Tag

from api.openai.responses.items import Item
from api.openai.responses.parameters import (
    BUILT_IN_TOOLS,
    INCLUDE,
    REASONING_CONTEXT,
    REASONING_MODES,
    SERVICE_TIERS,
    TRUNCATION,
    VERBOSITY,
)
from api.openai.schemas.chat import Effort, Identifier, MetadataValue, TokenLimit
from api.openai.schemas.fields import (
    LIST,
    TEXT,
    AnyStreamOptions,
    Json,
    JsonSchemaFormat,
    Name,
    Wire,
    text_or_list,
)
from api.openai.schemas.refusals import unsupported_values
from api.openai.schemas.sampling import EngineOptions
from api.openai.schemas.tools import PlainFormat

LOGPROBS = "message.output_text.logprobs"

FunctionType: TypeAlias = Annotated[Literal["function"], unsupported_values(BUILT_IN_TOOLS)]


class FunctionTool(Wire):
    """An element of ``tools``: the function itself, without a level between."""

    type: FunctionType
    name: Name
    description: Annotated[str, Field(max_length=32_768)] | None = None
    parameters: Json | None = None
    strict: bool | None = None


class NamedFunction(Wire):
    """A choice of one function."""

    type: FunctionType
    name: Name


class AllowedTools(Wire):
    """A choice among some of the tools."""

    type: Literal["allowed_tools"]
    mode: Literal["auto", "required"]
    tools: Annotated[list[NamedFunction], Field(fail_fast=True, min_length=1, max_length=128)]


class UnknownChoice(Wire, extra="ignore"):
    """Never valid: gives the error for a missing or unknown type."""

    type: Annotated[Literal["function", "allowed_tools"], unsupported_values(BUILT_IN_TOOLS)]


def _choice_kind(value: Any) -> str:
    if isinstance(value, str):
        return TEXT
    kind = value.get("type") if isinstance(value, dict) else None
    return {"function": "<object>", "allowed_tools": "<allowed>"}.get(str(kind), "<unknown>")


Choice: TypeAlias = Annotated[
    Annotated[Literal["none", "auto", "required"], Tag(TEXT)]
    | Annotated[NamedFunction, Tag("<object>")]
    | Annotated[AllowedTools, Tag("<allowed>")]
    | Annotated[UnknownChoice, Tag("<unknown>")],
    Discriminator(_choice_kind),
]


class TextSchemaFormat(JsonSchemaFormat):
    """``text.format`` with a schema that the answer must match."""

    type: Literal["json_schema"]


def _format_kind(value: Any) -> str:
    named = isinstance(value, dict) and value.get("type") == "json_schema"
    return "<schema>" if named else "<plain>"


class TextOptions(Wire):
    """``text``."""

    format: (
        Annotated[
            Annotated[PlainFormat, Tag("<plain>")] | Annotated[TextSchemaFormat, Tag("<schema>")],
            Discriminator(_format_kind),
        ]
        | None
    ) = None
    verbosity: Annotated[Literal["medium"], unsupported_values(VERBOSITY)] | None = None


class ReasoningOptions(Wire):
    """``reasoning``."""

    effort: Effort | None = None
    mode: Annotated[Literal["standard"], unsupported_values(REASONING_MODES)] | None = None
    context: Annotated[Literal["auto"], unsupported_values(REASONING_CONTEXT)] | None = None


class ResponseStreamOptions(AnyStreamOptions):
    """``stream_options``."""


Include: TypeAlias = Annotated[Literal["message.output_text.logprobs"], unsupported_values(INCLUDE)]


class ResponseRequest(EngineOptions):
    """Every parameter that is honoured, or that by definition doesn't change the answer."""

    input: (
        Annotated[
            Annotated[str, Tag(TEXT)] | Annotated[list[Item], Field(fail_fast=True, min_length=1), Tag(LIST)],
            Discriminator(text_or_list),
        ]
        | None
    ) = None
    instructions: str | None = None
    previous_response_id: Annotated[str, Field(min_length=1, max_length=128)] | None = None
    background: bool | None = None
    store: bool | None = None
    stream_options: ResponseStreamOptions | None = None
    include: Annotated[list[Include], Field(fail_fast=True)] | None = None
    max_output_tokens: TokenLimit | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    text: TextOptions | None = None
    reasoning: ReasoningOptions | None = None
    tools: Annotated[list[FunctionTool], Field(fail_fast=True, max_length=128)] | None = None
    tool_choice: Choice | None = None
    parallel_tool_calls: bool | None = None
    truncation: Annotated[Literal["disabled"], unsupported_values(TRUNCATION)] | None = None
    service_tier: Annotated[Literal["auto", "default"], unsupported_values(SERVICE_TIERS)] | None = None
    metadata: Annotated[dict[str, MetadataValue], Field(max_length=16)] | None = None
    safety_identifier: Identifier | None = None
    prompt_cache_key: Identifier | None = None

    # vLLM's
    chat_template_kwargs: Json | None = None
    include_reasoning: bool | None = None

    @property
    def with_logprobs(self) -> bool:
        """Whether the answer's tokens come with log probabilities."""
        return LOGPROBS in (self.include or ())
