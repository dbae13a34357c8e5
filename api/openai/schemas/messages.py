"""The schemas of chat messages: content as text or typed parts. Unknown keys are dropped at any depth."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BeforeValidator, Discriminator, Field, Tag

from api.openai.schemas.fields import LIST, TEXT, text_or_list
from api.openai.schemas.policies import ExplicitNull, History

TEXT_TYPES = ("text", "input_text", "output_text")  # one part in the forms of chat and of Responses


def text_type(name: str) -> BeforeValidator:
    """Return a validator that gives a text part of any form the type ``name``."""
    return BeforeValidator(lambda value: name if value in TEXT_TYPES else value)


class TextPart(History):
    """A text part, valid for any role."""

    type: Annotated[Literal["text"], text_type("text")]
    text: str


class RefusalPart(History):
    """A refusal of the model, sent back in an assistant message."""

    type: Literal["refusal"]
    refusal: str


def part_tag(value: Any) -> str:
    """Return the tag of the union branch for a part of an assistant message."""
    return "<refusal>" if isinstance(value, dict) and value.get("type") == "refusal" else "<part>"


class AssistantTextPart(History):
    """A text part of an assistant message. Its error lists both valid types."""

    type: Annotated[Literal["text", "refusal"], text_type("text")]
    text: str


AssistantPart: TypeAlias = Annotated[
    Annotated[AssistantTextPart, Tag("<part>")] | Annotated[RefusalPart, Tag("<refusal>")],
    Discriminator(part_tag),
]

# Reasoning in the form of other services: the message's own reasoning is in ``reasoning``.
_THINKING_PARTS = ("thinking", "redacted_thinking", "reasoning")


def _without_thinking(value: Any) -> Any:
    if not isinstance(value, list):
        return value
    parts = [part for part in value if not (isinstance(part, dict) and part.get("type") in _THINKING_PARTS)]
    return parts or ""


def _empty_as_text(value: Any) -> Any:
    return "" if value == [] or value is None else value


def _function_calls(value: Any) -> Any:
    """Return calls with those of custom tools as function calls, and null for an empty list."""
    return [_function_call(call) for call in value] or None if isinstance(value, list) else value


def _function_call(call: Any) -> Any:
    custom = call.get("custom") if isinstance(call, dict) and call.get("type") == "custom" else None
    if not isinstance(custom, dict):
        return call
    arguments = json.dumps({"input": custom.get("input")}, ensure_ascii=False)
    function = {"name": custom.get("name"), "arguments": arguments}
    return {"id": call.get("id"), "type": "function", "function": function}


def arguments_text(value: Any) -> Any:
    """Return the arguments of a call as text. Some clients keep them parsed, or null if there are none."""
    return json.dumps(value or {}, ensure_ascii=False) if value is None or isinstance(value, dict) else value


def _with_arguments(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {**value, "arguments": arguments_text(value.get("arguments"))}


UserContent: TypeAlias = Annotated[
    Annotated[str, Tag(TEXT)] | Annotated[list[TextPart], Field(fail_fast=True, min_length=1), Tag(LIST)],
    Discriminator(text_or_list),
]
Content: TypeAlias = Annotated[
    Annotated[str, Tag(TEXT)] | Annotated[list[TextPart], Field(fail_fast=True), Tag(LIST)],
    Discriminator(text_or_list),
]
AssistantContent: TypeAlias = Annotated[
    Annotated[str, Tag(TEXT)] | Annotated[list[AssistantPart], Field(fail_fast=True), Tag(LIST)],
    Discriminator(text_or_list),
]
SpeakerName: TypeAlias = Annotated[str, Field(min_length=1, max_length=64)]
CallId: TypeAlias = Annotated[str, Field(min_length=1)]


class InstructionMessage(History):
    """A message with the role system or developer."""

    role: Literal["system", "developer"]
    content: Annotated[Content, BeforeValidator(lambda value: "" if value == [] else value)]
    name: SpeakerName | None = None


class UserMessage(History):
    """A message with the role user."""

    role: Literal["user"]
    content: UserContent
    name: SpeakerName | None = None


class FunctionCall(History):
    """The function and arguments of an earlier tool call; arguments are JSON in a string."""

    name: Annotated[str, Field(min_length=1)]
    arguments: str


class ToolCall(History):
    """An earlier tool call of the model."""

    id: CallId
    type: Literal["function"] = "function"
    function: Annotated[FunctionCall, BeforeValidator(_with_arguments)]


class AssistantMessage(History):
    """A message with the role assistant.

    It may have neither content nor calls, like an answer that the token limit cut off while the model was
    thinking. ``function_call`` is the form of the deprecated functions.
    """

    role: Literal["assistant"]
    content: Annotated[AssistantContent | None, BeforeValidator(_without_thinking), ExplicitNull()] = None
    name: SpeakerName | None = None
    refusal: str | None = None
    tool_calls: Annotated[
        Annotated[list[ToolCall], Field(fail_fast=True, max_length=128)] | None,
        BeforeValidator(_function_calls),
    ] = None
    function_call: Annotated[FunctionCall | None, BeforeValidator(_with_arguments)] = None
    reasoning: str | None = None
    reasoning_content: str | None = None


class ToolMessage(History):
    """A message with the role tool: the output of a tool call."""

    role: Literal["tool"]
    content: Annotated[Content, BeforeValidator(_empty_as_text)]
    tool_call_id: CallId
    name: str | None = None


class FunctionMessage(History):
    """A message with the deprecated role function: the output of a ``function_call``."""

    role: Literal["function"]
    name: Annotated[str, Field(min_length=1)]
    content: Annotated[Content, BeforeValidator(_empty_as_text)]


class UnknownMessage(History):
    """Never valid: produces the error for a missing or unknown role."""

    role: Literal["developer", "system", "user", "assistant", "tool", "function"]


_TAGS_BY_ROLE = {
    "system": "<instruction>",
    "developer": "<instruction>",
    "user": "<user>",
    "assistant": "<assistant>",
    "tool": "<tool>",
    "function": "<function>",
}


def _message_tag(value: Any) -> str:
    role = value.get("role") if isinstance(value, dict) else None
    return _TAGS_BY_ROLE.get(role, "<unknown>") if isinstance(role, str) else "<unknown>"


Message: TypeAlias = Annotated[
    Annotated[InstructionMessage, Tag("<instruction>")]
    | Annotated[UserMessage, Tag("<user>")]
    | Annotated[AssistantMessage, Tag("<assistant>")]
    | Annotated[ToolMessage, Tag("<tool>")]
    | Annotated[FunctionMessage, Tag("<function>")]
    | Annotated[UnknownMessage, Tag("<unknown>")],
    Discriminator(_message_tag),
]
