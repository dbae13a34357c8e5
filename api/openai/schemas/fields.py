"""Types that the request schemas share: strict, closed, and with OpenAI's bounds."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Discriminator, Field, Tag
from typing_extensions import override

from api.openai.schemas.policies import Hint, Platform, Refused, Wire

# Sizes of arrays and objects: OpenAI's limits for stop, tools and metadata.
MAX_STOP_TEXTS = 4
MAX_STOP_TOKENS = 128
MAX_BAD_WORDS = 128
MAX_TOOLS = 128
MAX_METADATA = 16
MAX_METADATA_KEY_LENGTH = 64

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
AUTO, NUMBER = "<auto>", "<number>"


def text_or_list(value: Any) -> str:
    """Return the tag of the branch of a string-or-array union; other types fail as an array."""
    return TEXT if isinstance(value, str) else LIST


def auto_or_number(value: Any) -> str:
    """Return the tag of the branch of an "auto"-or-number union; other types fail as a number."""
    return AUTO if isinstance(value, str) else NUMBER


Stop: TypeAlias = Annotated[
    Annotated[StopText, Tag(TEXT)]
    | Annotated[list[StopText], Field(fail_fast=True, max_length=MAX_STOP_TEXTS), Tag(LIST)],
    Discriminator(text_or_list),
]


class AnyStreamOptions(Wire):
    """``stream_options`` of all endpoints. ``on_disconnect`` is an extension of this platform."""

    include_obfuscation: Annotated[bool | None, Hint("events are not padded", (False,))] = None
    on_disconnect: Annotated[Literal["cancel", "continue"] | None, Platform()] = None

    @property
    def needs_stream(self) -> bool:
        """True if an option has an effect, which requires a stream."""
        return self.on_disconnect == "continue"


class StreamOptions(AnyStreamOptions):
    """``stream_options`` of chat completions and completions. ``continuous_usage_stats`` is vLLM's."""

    include_usage: bool | None = None
    continuous_usage_stats: bool | None = None

    @property
    @override
    def needs_stream(self) -> bool:
        return bool(super().needs_stream or self.include_usage or self.continuous_usage_stats)


class JsonSchemaFormat(Wire):
    """A JSON schema for the output."""

    name: Name
    description: str | None = None
    schema_: Json = Field(alias="schema")
    strict: bool | None = None


_UNBOUNDED_COMPILATION = "its compilation can't be bounded; use 'json', 'regex' or 'choice'"


class StructuredOutputs(Wire):
    """vLLM's ``structured_outputs``: exactly one constraint."""

    json_: Json | str | None = Field(None, alias="json")
    regex: Annotated[str, Field(min_length=1)] | None = None
    choice: Annotated[list[StopText], Field(fail_fast=True, min_length=1)] | None = None
    json_object: bool | None = None
    grammar: Annotated[None, Refused(_UNBOUNDED_COMPILATION)] = None
    structural_tag: Annotated[None, Refused(_UNBOUNDED_COMPILATION)] = None
