"""The schemas of tools, tool choices and response formats."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Discriminator, Field, Tag

from api.openai.schemas.fields import TEXT, Json, JsonSchemaFormat, Name, Wire


class Function(Wire):
    """A function that the model may call. ``parameters`` is a JSON schema."""

    name: Name
    description: Annotated[str, Field(max_length=32_768)] | None = None
    parameters: Json | None = None
    strict: bool | None = None


class Tool(Wire):
    """An element of ``tools``."""

    type: Literal["function"]
    function: Function


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


class PlainFormat(Wire):
    """``response_format`` without a schema. The literal has all valid types, for its error."""

    type: Literal["text", "json_object", "json_schema"]


class SchemaFormat(Wire):
    """``response_format`` with a schema that the output must match."""

    type: Literal["json_schema"]
    json_schema: JsonSchemaFormat


def _format_tag(value: Any) -> str:
    has_schema = isinstance(value, dict) and value.get("type") == "json_schema"
    return "<schema>" if has_schema else "<plain>"


ResponseFormat: TypeAlias = Annotated[
    Annotated[PlainFormat, Tag("<plain>")] | Annotated[SchemaFormat, Tag("<schema>")],
    Discriminator(_format_tag),
]
