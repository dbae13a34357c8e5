"""The schema of ``POST /v1/responses``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Discriminator, Field, Tag
from typing_extensions import override

from api.openai.responses.schemas.items import Item
from api.openai.responses.schemas.parameters import (
    FORCED_TOOLS,
    UNSUPPORTED_REASONING_CONTEXTS,
    UNSUPPORTED_REASONING_MODES,
    BuiltInToolType,
    Includable,
)
from api.openai.schemas.chat import VERBOSITY, Effort, HintedParameters, Metadata, TokenLimit, Verbosity
from api.openai.schemas.fields import (
    LIST,
    MAX_TOOLS,
    TEXT,
    AnyStreamOptions,
    Json,
    JsonSchemaFormat,
    Name,
    text_or_list,
)
from api.openai.schemas.policies import Hint, Label, Platform, Refused, UnavailableTool, Wire
from api.openai.schemas.sampling import EngineOptions
from api.openai.schemas.tools import ALL_IN_PROMPT, CACHED_AUTOMATICALLY, PlainFormat, format_tag
from api.openai.schemas.unsupported_values import unsupported_values

LOGPROBS = "message.output_text.logprobs"
_CLIENT_TOOLS = "the client calls the tools"


class FunctionTool(Wire):
    """An element of ``tools``: the function itself, not nested as in chat."""

    type: Literal["function"]
    name: Name
    description: Annotated[str, Field(max_length=32_768)] | None = None
    parameters: Json | None = None
    strict: bool | None = None
    output_schema: Annotated[Json | None, Label("describes outputs, which are not validated")] = None
    cache_control: Annotated[Json | None, Hint(CACHED_AUTOMATICALLY)] = None
    defer_loading: Annotated[bool | None, Hint(ALL_IN_PROMPT, (False,))] = None
    allowed_callers: Annotated[None, Refused(_CLIENT_TOOLS)] = None
    async_: Annotated[None, Refused(_CLIENT_TOOLS)] = Field(None, alias="async")


class BuiltInTool(UnavailableTool):
    """A tool that is not available. The model doesn't see it, so it never calls it."""

    type: BuiltInToolType


class UnknownTool(Wire, extra="ignore"):
    """Never valid: produces the error for a missing or unknown type."""

    type: Literal["function", "namespace"]


def _tool_tag(value: Any) -> str:
    tool_type = value.get("type") if isinstance(value, dict) else None
    if tool_type in ("function", "namespace"):
        return f"<{tool_type}>"
    return "<built-in>" if isinstance(tool_type, str) and tool_type in FORCED_TOOLS else "<unknown>"


NamespaceMember: TypeAlias = Annotated[
    Annotated[FunctionTool, Tag("<function>")]
    | Annotated[BuiltInTool, Tag("<built-in>")]
    | Annotated[UnknownTool, Tag("<unknown>")],
    Discriminator(_tool_tag),
]


class NamespaceTool(Wire):
    """A group of functions; the model sees the functions."""

    type: Literal["namespace"]
    name: Annotated[str, Field(min_length=1, max_length=256)]
    description: str | None = None
    tools: Annotated[list[NamespaceMember], Field(fail_fast=True, max_length=MAX_TOOLS)]


ResponseTool: TypeAlias = Annotated[
    Annotated[FunctionTool, Tag("<function>")]
    | Annotated[NamespaceTool, Tag("<namespace>")]
    | Annotated[BuiltInTool, Tag("<built-in>")]
    | Annotated[UnknownTool, Tag("<unknown>")],
    Discriminator(_tool_tag),
]


class NamedFunction(Wire):
    """A ``tool_choice`` of one function."""

    type: Literal["function"]
    name: Name


class UnknownChoice(Wire, extra="ignore"):
    """Never valid: produces the error for a missing or unknown type."""

    type: Annotated[Literal["function", "allowed_tools"], unsupported_values(FORCED_TOOLS)]


def _choice_tag(value: Any) -> str:
    if isinstance(value, str):
        return TEXT
    choice_type = value.get("type") if isinstance(value, dict) else None
    return {"function": "<object>", "allowed_tools": "<allowed>"}.get(str(choice_type), "<unknown>")


AllowedTool: TypeAlias = Annotated[
    Annotated[NamedFunction, Tag("<function>")]
    | Annotated[BuiltInTool, Tag("<built-in>")]
    | Annotated[UnknownTool, Tag("<unknown>")],
    Discriminator(_tool_tag),
]


class AllowedTools(Wire):
    """A ``tool_choice`` that restricts the tools."""

    type: Literal["allowed_tools"]
    mode: Literal["auto", "required"]
    tools: Annotated[list[AllowedTool], Field(fail_fast=True, min_length=1, max_length=128)]


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


class TextOptions(Wire):
    """The ``text`` parameter."""

    format: (
        Annotated[
            Annotated[PlainFormat, Tag("<plain>")] | Annotated[TextSchemaFormat, Tag("<schema>")],
            Discriminator(format_tag),
        ]
        | None
    ) = None
    verbosity: Annotated[Verbosity | None, VERBOSITY] = None


_COMPLETE_REASONING = Hint("items of type 'reasoning' contain the complete reasoning")
Summary = Literal["auto", "concise", "detailed", "none"]


class ReasoningOptions(Wire):
    """The ``reasoning`` parameter."""

    effort: Effort | None = None
    summary: Annotated[Summary | None, _COMPLETE_REASONING] = None
    generate_summary: Annotated[Summary | None, _COMPLETE_REASONING] = None
    mode: Annotated[Literal["standard"], unsupported_values(UNSUPPORTED_REASONING_MODES)] | None = None
    context: Annotated[Literal["auto"], unsupported_values(UNSUPPORTED_REASONING_CONTEXTS)] | None = None


class ResponseStreamOptions(AnyStreamOptions):
    """The ``stream_options`` parameter."""

    include_usage: Annotated[bool | None, Hint("responses always include the usage", (True, False))] = None
    continuous_usage_stats: Annotated[None, Refused("the usage is reported at the end of the response")] = (
        None
    )


_BELONGS_TO_CHAT = "it belongs to chat completions; use "
_ONE_CHOICE = "a response has exactly one choice"
_NEW_MESSAGE = "the output is always a new message"
_TEXT_OUTPUT = "only text is generated"


class RefusedByResponses(Wire):
    """Parameters that change the answer and are not available, with their alternatives."""

    access_programs: Annotated[None, Refused("access programs are not available")] = None
    background_options: Annotated[
        None, Refused("background responses start as soon as there is capacity")
    ] = None
    conversation: Annotated[None, Refused("conversations are not stored; use 'previous_response_id'")] = None
    image: Annotated[None, Refused(_TEXT_OUTPUT)] = None
    moderation: Annotated[None, Refused("moderation is not available")] = None
    prompt: Annotated[None, Refused("prompt templates are not stored; use 'instructions' and 'input'")] = None
    messages: Annotated[None, Refused(_BELONGS_TO_CHAT + "'input'")] = None
    max_tokens: Annotated[None, Refused(_BELONGS_TO_CHAT + "'max_output_tokens'")] = None
    max_completion_tokens: Annotated[None, Refused(_BELONGS_TO_CHAT + "'max_output_tokens'")] = None
    response_format: Annotated[None, Refused(_BELONGS_TO_CHAT + "'text.format'")] = None
    reasoning_effort: Annotated[None, Refused(_BELONGS_TO_CHAT + "'reasoning.effort'")] = None
    verbosity: Annotated[None, Refused(_BELONGS_TO_CHAT + "'text.verbosity'")] = None
    logprobs: Annotated[None, Refused(_BELONGS_TO_CHAT + "'message.output_text.logprobs' in 'include'")] = (
        None
    )
    functions: Annotated[None, Refused(_BELONGS_TO_CHAT + "'tools'")] = None
    function_call: Annotated[None, Refused(_BELONGS_TO_CHAT + "'tool_choice'")] = None
    modalities: Annotated[None, Refused(_TEXT_OUTPUT)] = None
    audio: Annotated[None, Refused(_TEXT_OUTPUT)] = None
    prediction: Annotated[None, Refused(_BELONGS_TO_CHAT + "'input'")] = None
    n: Annotated[None, Refused(_ONE_CHOICE)] = None
    best_of: Annotated[None, Refused(_ONE_CHOICE)] = None
    echo: Annotated[None, Refused("responses never repeat the input")] = None
    add_generation_prompt: Annotated[None, Refused(_NEW_MESSAGE)] = None
    continue_final_message: Annotated[None, Refused(_NEW_MESSAGE)] = None
    return_token_ids: Annotated[None, Refused("responses do not contain token ids")] = None


class ResponseRequest(EngineOptions, HintedParameters, RefusedByResponses):
    """All parameters of a response."""

    input: (
        Annotated[
            Annotated[str, Tag(TEXT)] | Annotated[list[Item], Field(fail_fast=True, min_length=1), Tag(LIST)],
            Discriminator(text_or_list),
        ]
        | None
    ) = None
    instructions: str | None = None
    previous_response_id: Annotated[
        Annotated[str, Field(min_length=1, max_length=128)] | None, Platform()
    ] = None
    background: Annotated[bool | None, Platform()] = None
    store: Annotated[bool | None, Platform()] = None
    stream_options: ResponseStreamOptions | None = None
    include: Annotated[list[Includable], Field(fail_fast=True)] | None = None
    max_output_tokens: TokenLimit | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    text: TextOptions | None = None
    reasoning: ReasoningOptions | None = None
    tools: Annotated[list[ResponseTool], Field(fail_fast=True, max_length=MAX_TOOLS)] | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    metadata: Annotated[Metadata | None, Platform()] = None

    truncation: Annotated[
        Literal["auto", "disabled"] | None,
        Hint("prompts are never truncated; a prompt that is too long is rejected", ("disabled",)),
    ] = None
    context_management: Annotated[
        Annotated[list[Json], Field(fail_fast=True)] | None,
        Hint("conversations are never shortened; a prompt that is too long is rejected"),
    ] = None
    max_tool_calls: Annotated[
        Annotated[int, Field(ge=0)] | None,
        Hint("it limits calls of built-in tools, of which there are none"),
    ] = None
    client_metadata: Annotated[Json | None, Label("describes the client")] = None

    # vLLM extensions
    chat_template_kwargs: Json | None = None
    include_reasoning: bool | None = None

    @property
    def has_logprobs(self) -> bool:
        """True if the response includes log probabilities."""
        return LOGPROBS in (self.include or ())

    @override
    def conditional_hints(self) -> Iterator[str]:
        for value in self.include or ():
            if value != LOGPROBS:
                yield f"include[{value}]"
