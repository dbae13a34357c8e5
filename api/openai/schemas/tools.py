"""The schemas of tools, tool choices and response formats."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Discriminator, Field, Tag

from api.openai.schemas.fields import TEXT, Json, JsonSchemaFormat, Name
from api.openai.schemas.policies import Hint, UnavailableTool, Wire


class Function(Wire):
    """A function that the model may call. ``parameters`` is a JSON schema."""

    name: Name
    description: Annotated[str, Field(max_length=32_768)] | None = None
    parameters: Json | None = None
    strict: bool | None = None


CACHED_AUTOMATICALLY = "prefixes are cached automatically"
ALL_IN_PROMPT = "the prompt always includes all tools"


class Tool(Wire):
    """An element of ``tools``."""

    type: Literal["function"]
    function: Function
    cache_control: Annotated[Json | None, Hint(CACHED_AUTOMATICALLY)] = None
    defer_loading: Annotated[bool | None, Hint(ALL_IN_PROMPT, (False,))] = None


class CustomTool(UnavailableTool):
    """A tool with free-form input. The model doesn't see it, so it never calls it."""

    type: Literal["custom"]


class UnknownTool(Wire, extra="ignore"):
    """Never valid: produces the error for a missing or unknown type."""

    type: Literal["function", "custom"]


def _tool_tag(value: Any) -> str:
    tool_type = value.get("type") if isinstance(value, dict) else None
    return {"function": "<tool>", "custom": "<custom>"}.get(str(tool_type), "<unknown>")


AnyTool: TypeAlias = Annotated[
    Annotated[Tool, Tag("<tool>")]
    | Annotated[CustomTool, Tag("<custom>")]
    | Annotated[UnknownTool, Tag("<unknown>")],
    Discriminator(_tool_tag),
]


class FunctionName(Wire):
    """The function that ``tool_choice`` names."""

    name: Name


class NamedToolChoice(Wire):
    """A ``tool_choice`` of one function."""

    type: Literal["function"]
    function: FunctionName


def _choice_tag(value: Any) -> str:
    return TEXT if isinstance(value, str) else "<object>"


ToolChoice: TypeAlias = Annotated[
    Annotated[Literal["none", "auto", "required"], Tag(TEXT)] | Annotated[NamedToolChoice, Tag("<object>")],
    Discriminator(_choice_tag),
]


# The deprecated form of a choice.
FunctionChoice: TypeAlias = Annotated[
    Annotated[Literal["none", "auto"], Tag(TEXT)] | Annotated[FunctionName, Tag("<object>")],
    Discriminator(_choice_tag),
]


class PlainFormat(Wire):
    """``response_format`` without a schema. The literal has all valid types, for its error."""

    type: Literal["text", "json_object", "json_schema"]


class SchemaFormat(Wire):
    """``response_format`` with a schema that the output must match."""

    type: Literal["json_schema"]
    json_schema: JsonSchemaFormat


def format_tag(value: Any) -> str:
    """Return the tag of the union branch of a format: with a schema or without."""
    has_schema = isinstance(value, dict) and value.get("type") == "json_schema"
    return "<schema>" if has_schema else "<plain>"


ResponseFormat: TypeAlias = Annotated[
    Annotated[PlainFormat, Tag("<plain>")] | Annotated[SchemaFormat, Tag("<schema>")],
    Discriminator(format_tag),
]
