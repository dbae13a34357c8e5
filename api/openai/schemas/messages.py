"""The schemas of chat messages: five roles, content as text or typed parts."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Discriminator, Field, Tag

from api.openai.schemas.fields import LIST, TEXT, Json, Wire, text_or_list


class TextPart(Wire):
    """A text part, valid for any role."""

    type: Literal["text"]
    text: str


class RefusalPart(Wire):
    """A refusal of the model, sent back in an assistant message."""

    type: Literal["refusal"]
    refusal: str


def part_tag(value: Any) -> str:
    """Return the tag of the union branch for a part of an assistant message."""
    return "<refusal>" if isinstance(value, dict) and value.get("type") == "refusal" else "<part>"


class AssistantTextPart(Wire):
    """A text part of an assistant message. Its error lists both valid types."""

    type: Literal["text", "refusal"]
    text: str


AssistantPart: TypeAlias = Annotated[
    Annotated[AssistantTextPart, Tag("<part>")] | Annotated[RefusalPart, Tag("<refusal>")],
    Discriminator(part_tag),
]

Content: TypeAlias = Annotated[
    Annotated[str, Tag(TEXT)] | Annotated[list[TextPart], Field(fail_fast=True, min_length=1), Tag(LIST)],
    Discriminator(text_or_list),
]
AssistantContent: TypeAlias = Annotated[
    Annotated[str, Tag(TEXT)]
    | Annotated[list[AssistantPart], Field(fail_fast=True, min_length=1), Tag(LIST)],
    Discriminator(text_or_list),
]
SpeakerName: TypeAlias = Annotated[str, Field(min_length=1, max_length=64)]


class InstructionMessage(Wire):
    """A message with the role system or developer."""

    role: Literal["system", "developer"]
    content: Content
    name: SpeakerName | None = None


class UserMessage(Wire):
    """A message with the role user."""

    role: Literal["user"]
    content: Content
    name: SpeakerName | None = None


class FunctionCall(Wire):
    """The function and arguments of an earlier tool call; arguments are JSON in a string."""

    name: Annotated[str, Field(min_length=1)]
    arguments: str


class ToolCall(Wire):
    """An earlier tool call of the model."""

    id: Annotated[str, Field(min_length=1)]
    type: Literal["function"]
    function: FunctionCall


class AssistantMessage(Wire):
    """A message with the role assistant. ``reasoning`` and ``annotations`` come from earlier responses."""

    role: Literal["assistant"]
    content: AssistantContent | None = None
    name: SpeakerName | None = None
    refusal: str | None = None
    tool_calls: Annotated[list[ToolCall], Field(fail_fast=True, min_length=1, max_length=128)] | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    annotations: Annotated[list[Json], Field(fail_fast=True)] | None = None


class ToolMessage(Wire):
    """A message with the role tool: the output of a tool call."""

    role: Literal["tool"]
    content: Content
    tool_call_id: Annotated[str, Field(min_length=1)]


class UnknownMessage(Wire, extra="ignore"):
    """Never valid: produces the error for a missing or unknown role."""

    role: Literal["developer", "system", "user", "assistant", "tool"]


_TAGS_BY_ROLE = {
    "system": "<instruction>",
    "developer": "<instruction>",
    "user": "<user>",
    "assistant": "<assistant>",
    "tool": "<tool>",
}


def _message_tag(value: Any) -> str:
    role = value.get("role") if isinstance(value, dict) else None
    return _TAGS_BY_ROLE.get(role, "<unknown>") if isinstance(role, str) else "<unknown>"


Message: TypeAlias = Annotated[
    Annotated[InstructionMessage, Tag("<instruction>")]
    | Annotated[UserMessage, Tag("<user>")]
    | Annotated[AssistantMessage, Tag("<assistant>")]
    | Annotated[ToolMessage, Tag("<tool>")]
    | Annotated[UnknownMessage, Tag("<unknown>")],
    Discriminator(_message_tag),
]
