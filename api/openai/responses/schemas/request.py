"""The schema of ``POST /v1/responses``."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Discriminator, Field, Tag

from api.openai.responses.schemas.items import Item
from api.openai.responses.schemas.parameters import (
    BUILT_IN_TOOLS,
    UNSUPPORTED_INCLUDE,
    UNSUPPORTED_REASONING_CONTEXTS,
    UNSUPPORTED_REASONING_MODES,
    UNSUPPORTED_SERVICE_TIERS,
    UNSUPPORTED_TRUNCATION,
    UNSUPPORTED_VERBOSITY,
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
from api.openai.schemas.sampling import EngineOptions
from api.openai.schemas.tools import PlainFormat
from api.openai.schemas.unsupported_values import unsupported_values

LOGPROBS = "message.output_text.logprobs"

FunctionType: TypeAlias = Annotated[Literal["function"], unsupported_values(BUILT_IN_TOOLS)]


class FunctionTool(Wire):
    """An element of ``tools``: the function itself, not nested as in chat."""

    type: FunctionType
    name: Name
    description: Annotated[str, Field(max_length=32_768)] | None = None
    parameters: Json | None = None
    strict: bool | None = None


class NamedFunction(Wire):
    """A ``tool_choice`` of one function."""

    type: FunctionType
    name: Name


class AllowedTools(Wire):
    """A ``tool_choice`` that restricts the tools."""

    type: Literal["allowed_tools"]
    mode: Literal["auto", "required"]
    tools: Annotated[list[NamedFunction], Field(fail_fast=True, min_length=1, max_length=128)]


class UnknownChoice(Wire, extra="ignore"):
    """Never valid: produces the error for a missing or unknown type."""

    type: Annotated[Literal["function", "allowed_tools"], unsupported_values(BUILT_IN_TOOLS)]


def _choice_tag(value: Any) -> str:
    if isinstance(value, str):
        return TEXT
    choice_type = value.get("type") if isinstance(value, dict) else None
    return {"function": "<object>", "allowed_tools": "<allowed>"}.get(str(choice_type), "<unknown>")


ToolChoice: TypeAlias = Annotated[
    Annotated[Literal["none", "auto", "required"], Tag(TEXT)]
    | Annotated[NamedFunction, Tag("<object>")]
    | Annotated[AllowedTools, Tag("<allowed>")]
    | Annotated[UnknownChoice, Tag("<unknown>")],
    Discriminator(_choice_tag),
]


class TextSchemaFormat(JsonSchemaFormat):
    """``text.format`` with a schema that the output must match."""

    type: Literal["json_schema"]


def _format_tag(value: Any) -> str:
    has_schema = isinstance(value, dict) and value.get("type") == "json_schema"
    return "<schema>" if has_schema else "<plain>"


class TextOptions(Wire):
    """The ``text`` parameter."""

    format: (
        Annotated[
            Annotated[PlainFormat, Tag("<plain>")] | Annotated[TextSchemaFormat, Tag("<schema>")],
            Discriminator(_format_tag),
        ]
        | None
    ) = None
    verbosity: Annotated[Literal["medium"], unsupported_values(UNSUPPORTED_VERBOSITY)] | None = None


class ReasoningOptions(Wire):
    """The ``reasoning`` parameter."""

    effort: Effort | None = None
    mode: Annotated[Literal["standard"], unsupported_values(UNSUPPORTED_REASONING_MODES)] | None = None
    context: Annotated[Literal["auto"], unsupported_values(UNSUPPORTED_REASONING_CONTEXTS)] | None = None


class ResponseStreamOptions(AnyStreamOptions):
    """The ``stream_options`` parameter."""


Include: TypeAlias = Annotated[
    Literal["message.output_text.logprobs"], unsupported_values(UNSUPPORTED_INCLUDE)
]


class ResponseRequest(EngineOptions):
    """All supported parameters, including those that have no effect by definition."""

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
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    truncation: Annotated[Literal["disabled"], unsupported_values(UNSUPPORTED_TRUNCATION)] | None = None
    service_tier: (
        Annotated[Literal["auto", "default"], unsupported_values(UNSUPPORTED_SERVICE_TIERS)] | None
    ) = None
    metadata: Annotated[dict[str, MetadataValue], Field(max_length=16)] | None = None
    safety_identifier: Identifier | None = None
    prompt_cache_key: Identifier | None = None

    # vLLM extensions
    chat_template_kwargs: Json | None = None
    include_reasoning: bool | None = None

    @property
    def has_logprobs(self) -> bool:
        """True if the response includes log probabilities."""
        return LOGPROBS in (self.include or ())
