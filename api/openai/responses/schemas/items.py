"""Schemas of the items of ``input``. They are history: unknown keys are dropped at any depth."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias, get_args

from pydantic import BeforeValidator, Discriminator, Field, Tag

from api.openai.responses.schemas.parameters import (
    UNSUPPORTED_INPUT_PARTS,
    UNSUPPORTED_ITEMS,
    LocalCallType,
    LocalOutputType,
    RemoteItemType,
)
from api.openai.schemas.fields import LIST, TEXT, Json, text_or_list
from api.openai.schemas.messages import RefusalPart, arguments_text, part_tag, text_type
from api.openai.schemas.policies import History
from api.openai.schemas.unsupported_values import unsupported_values

Status = Literal["in_progress", "completed", "incomplete"]
Phase = Literal["commentary", "final_answer"]
Id: TypeAlias = Annotated[str, Field(min_length=1, max_length=256)]


class InputText(History):
    """A text part of an input message."""

    type: Annotated[
        Literal["input_text"], text_type("input_text"), unsupported_values(UNSUPPORTED_INPUT_PARTS)
    ]
    text: str


class OutputText(History):
    """A text part of an output message. The literal also has the other valid type, for its error."""

    type: Annotated[Literal["output_text", "refusal"], text_type("output_text")]
    text: str


def _empty_as_text(value: Any) -> Any:
    return "" if value == [] else value


OutputPart: TypeAlias = Annotated[
    Annotated[OutputText, Tag("<part>")] | Annotated[RefusalPart, Tag("<refusal>")],
    Discriminator(part_tag),
]
InputContent: TypeAlias = Annotated[
    Annotated[str, Tag(TEXT)] | Annotated[list[InputText], Field(fail_fast=True, min_length=1), Tag(LIST)],
    Discriminator(text_or_list),
]
FunctionOutput: TypeAlias = Annotated[
    Annotated[str, Tag(TEXT)] | Annotated[list[InputText], Field(fail_fast=True), Tag(LIST)],
    Discriminator(text_or_list),
    BeforeValidator(_empty_as_text),
]
OutputContent: TypeAlias = Annotated[
    Annotated[str, Tag(TEXT)] | Annotated[list[OutputPart], Field(fail_fast=True), Tag(LIST)],
    Discriminator(text_or_list),
    BeforeValidator(_empty_as_text),
]


class InputMessage(History):
    """A message to the model."""

    type: Literal["message"] | None = None
    id: Id | None = None
    role: Literal["user", "system", "developer"]
    content: InputContent
    status: Status | None = None
    phase: Phase | None = None


class OutputMessage(History):
    """An earlier message of the model."""

    type: Literal["message"] | None = None
    id: Id | None = None
    role: Literal["assistant"]
    content: OutputContent
    status: Status | None = None
    phase: Phase | None = None


class UnknownMessageItem(History):
    """Never valid: produces the error for a missing or unknown role."""

    role: Literal["user", "assistant", "system", "developer"]


class FunctionCallItem(History):
    """An earlier function call of the model; ``arguments`` is JSON in a string."""

    type: Literal["function_call"]
    id: Id | None = None
    call_id: Id
    name: Annotated[str, Field(min_length=1)]
    namespace: str | None = None
    arguments: Annotated[str, BeforeValidator(arguments_text)]
    status: Status | None = None


class FunctionOutputItem(History):
    """The output of a function."""

    type: Literal["function_call_output"]
    id: Id | None = None
    call_id: Id
    output: FunctionOutput
    name: str | None = None
    status: Status | None = None


class CustomCallItem(History):
    """An earlier call of a custom tool, whose input is free text."""

    type: Literal["custom_tool_call"]
    id: Id | None = None
    call_id: Id
    name: Annotated[str, Field(min_length=1)]
    input: str


class CustomOutputItem(History):
    """The output of a custom tool."""

    type: Literal["custom_tool_call_output"]
    id: Id | None = None
    call_id: Id
    output: FunctionOutput


class LocalCallItem(History, extra="allow"):
    """An earlier call of a built-in tool that the client ran. ``id`` is the call's if it has no other."""

    type: LocalCallType
    id: Id | None = None
    call_id: Id | None = None
    action: Json | None = None
    operation: Json | None = None


class LocalOutputItem(History, extra="allow"):
    """The output of a built-in tool that the client ran: a text, or any JSON."""

    type: LocalOutputType
    id: Id | None = None
    call_id: Id | None = None
    output: Any = None


class RemoteItem(History, extra="allow"):
    """A tool call that another service ran in an earlier turn."""

    type: RemoteItemType
    id: Id | None = None


class SummaryText(History):
    """A part of a reasoning summary."""

    type: Literal["summary_text"]
    text: str


class ReasoningText(History):
    """A part of reasoning."""

    type: Literal["reasoning_text"]
    text: str


class Reasoning(History):
    """Earlier reasoning of the model. Encrypted reasoning of other services is dropped."""

    type: Literal["reasoning"]
    id: Id | None = None
    summary: Annotated[list[SummaryText], Field(fail_fast=True)] | None = None
    content: Annotated[list[ReasoningText], Field(fail_fast=True)] | None = None
    status: Status | None = None


class CompactionItem(History):
    """The summary of an earlier conversation. Codex also uses the type ``compaction_summary``."""

    type: Literal["compaction", "compaction_summary"]
    id: Id | None = None
    encrypted_content: str


class ItemReference(History):
    """Stands for an item of one of the tenant's stored responses."""

    type: Literal["item_reference"] | None = None
    id: Id


class UnknownItem(History):
    """Never valid: produces the error for a missing or unknown type."""

    type: Annotated[
        Literal["message", "function_call", "function_call_output", "reasoning", "item_reference"],
        unsupported_values(UNSUPPORTED_ITEMS),
    ]


_TAGS_BY_TYPE = {
    "function_call": "<call>",
    "function_call_output": "<output>",
    "reasoning": "<reasoning>",
    "custom_tool_call": "<custom>",
    "custom_tool_call_output": "<custom output>",
    "item_reference": "<reference>",
    "compaction": "<compaction>",
    "compaction_summary": "<compaction>",
    **dict.fromkeys(get_args(LocalCallType), "<local>"),
    **dict.fromkeys(get_args(LocalOutputType), "<local output>"),
    **dict.fromkeys(get_args(RemoteItemType), "<remote>"),
}
_TAGS_BY_ROLE = {
    "assistant": "<assistant>",
    "user": "<message>",
    "system": "<message>",
    "developer": "<message>",
}


def _item_tag(value: Any) -> str:
    if not isinstance(value, dict):
        return "<item>"
    item_type = value.get("type")
    if item_type == "message" or (item_type is None and "role" in value):
        role = value.get("role")
        return _TAGS_BY_ROLE.get(role, "<unknown>") if isinstance(role, str) else "<unknown>"
    if item_type is None and value.keys() - {"type"} == {"id"}:
        return "<reference>"
    return _TAGS_BY_TYPE.get(item_type, "<item>") if isinstance(item_type, str) else "<item>"


Item: TypeAlias = Annotated[
    Annotated[InputMessage, Tag("<message>")]
    | Annotated[OutputMessage, Tag("<assistant>")]
    | Annotated[UnknownMessageItem, Tag("<unknown>")]
    | Annotated[FunctionCallItem, Tag("<call>")]
    | Annotated[FunctionOutputItem, Tag("<output>")]
    | Annotated[CustomCallItem, Tag("<custom>")]
    | Annotated[CustomOutputItem, Tag("<custom output>")]
    | Annotated[LocalCallItem, Tag("<local>")]
    | Annotated[LocalOutputItem, Tag("<local output>")]
    | Annotated[RemoteItem, Tag("<remote>")]
    | Annotated[Reasoning, Tag("<reasoning>")]
    | Annotated[CompactionItem, Tag("<compaction>")]
    | Annotated[ItemReference, Tag("<reference>")]
    | Annotated[UnknownItem, Tag("<item>")],
    Discriminator(_item_tag),
]
