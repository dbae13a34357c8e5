"""Schemas of the messages of a conversation: five roles, text or typed parts."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Discriminator, Field, Tag

from api.openai.schemas.fields import LIST, TEXT, Json, Wire, text_or_list


class TextPart(Wire):
    """A part that any role may have."""

    type: Literal["text"]
    text: str


class RefusalPart(Wire):
    """A refusal of the model, given back in an assistant message."""

    type: Literal["refusal"]
    refusal: str


def part_kind(value: Any) -> str:
    """Which branch of the union of an assistant's parts a value belongs to."""
    return "<refusal>" if isinstance(value, dict) and value.get("type") == "refusal" else "<part>"


class AssistantTextPart(Wire):
    """As TextPart, but its error lists what an assistant's message may hold."""

    type: Literal["text", "refusal"]
    text: str


AssistantPart: TypeAlias = Annotated[
    Annotated[AssistantTextPart, Tag("<part>")] | Annotated[RefusalPart, Tag("<refusal>")],
    Discriminator(part_kind),
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
Speaker: TypeAlias = Annotated[str, Field(min_length=1, max_length=64)]


class InstructionMessage(Wire):
    """Roles system and developer."""

    role: Literal["system", "developer"]
    content: Content
    name: Speaker | None = None


class UserMessage(Wire):
    """Role user."""

    role: Literal["user"]
    content: Content
    name: Speaker | None = None


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
    """Role assistant. ``reasoning`` and ``annotations`` are there in answers that clients send back."""

    role: Literal["assistant"]
    content: AssistantContent | None = None
    name: Speaker | None = None
    refusal: str | None = None
    tool_calls: Annotated[list[ToolCall], Field(fail_fast=True, min_length=1, max_length=128)] | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    annotations: Annotated[list[Json], Field(fail_fast=True)] | None = None


class ToolMessage(Wire):
    """Role tool: the answer to a tool call."""

    role: Literal["tool"]
    content: Content
    tool_call_id: Annotated[str, Field(min_length=1)]


class UnknownMessage(Wire, extra="ignore"):
    """Never valid: gives the error for a missing or unknown role."""

    role: Literal["developer", "system", "user", "assistant", "tool"]


_KINDS = {
    "system": "<instruction>",
    "developer": "<instruction>",
    "user": "<user>",
    "assistant": "<assistant>",
    "tool": "<tool>",
}


def _message_kind(value: Any) -> str:
    role = value.get("role") if isinstance(value, dict) else None
    return _KINDS.get(role, "<unknown>") if isinstance(role, str) else "<unknown>"


Message: TypeAlias = Annotated[
    Annotated[InstructionMessage, Tag("<instruction>")]
    | Annotated[UserMessage, Tag("<user>")]
    | Annotated[AssistantMessage, Tag("<assistant>")]
    | Annotated[ToolMessage, Tag("<tool>")]
    | Annotated[UnknownMessage, Tag("<unknown>")],
    Discriminator(_message_kind),
]
