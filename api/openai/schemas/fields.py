"""Types that the request schemas share: strict, closed, and with OpenAI's bounds."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

Json: TypeAlias = dict[str, Any]

Name: TypeAlias = Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]
ModelName: TypeAlias = Annotated[str, Field(min_length=1, max_length=256)]
Int64: TypeAlias = Annotated[int, Field(ge=-(2**63), le=2**63 - 1)]
TokenId: TypeAlias = Annotated[int, Field(ge=0, le=2**31 - 1)]
Penalty: TypeAlias = Annotated[float, Field(ge=-2.0, le=2.0, allow_inf_nan=False)]
Fraction: TypeAlias = Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)]
StopText: TypeAlias = Annotated[str, Field(min_length=1, max_length=1024)]

# Tags of union branches. Angle brackets distinguish them from keys in the path of an error.
TEXT, LIST = "<text>", "<list>"


def text_or_list(value: Any) -> str:
    """Return the tag of the branch of a string-or-array union; other types fail as an array."""
    return TEXT if isinstance(value, str) else LIST


Stop: TypeAlias = Annotated[
    Annotated[StopText, Tag(TEXT)]
    | Annotated[list[StopText], Field(fail_fast=True, min_length=1, max_length=4), Tag(LIST)],
    Discriminator(text_or_list),
]


class Wire(BaseModel):
    """Base of all request schemas: no coercion, no unknown fields."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class AnyStreamOptions(Wire):
    """``stream_options`` of all endpoints. ``on_disconnect`` is an extension of this platform."""

    include_obfuscation: bool | None = None
    on_disconnect: Literal["cancel", "continue"] | None = None


class StreamOptions(AnyStreamOptions):
    """``stream_options`` of chat completions and completions. ``continuous_usage_stats`` is vLLM's."""

    include_usage: bool | None = None
    continuous_usage_stats: bool | None = None


class JsonSchemaFormat(Wire):
    """A JSON schema for the output."""

    name: Name
    description: str | None = None
    schema_: Json = Field(alias="schema")
    strict: bool | None = None


class StructuredOutputs(Wire):
    """vLLM's ``structured_outputs``: exactly one constraint."""

    json_: Json | str | None = Field(None, alias="json")
    regex: Annotated[str, Field(min_length=1)] | None = None
    choice: Annotated[list[StopText], Field(fail_fast=True, min_length=1)] | None = None
    json_object: bool | None = None
