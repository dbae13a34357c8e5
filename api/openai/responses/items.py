"""Schemas of the items of ``input``: messages, function calls with their outputs, and reasoning."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Discriminator, Field, Tag

from api.openai.responses.parameters import INPUT_PARTS, ITEMS
from api.openai.schemas.fields import LIST, TEXT, Json, Wire, text_or_list
from api.openai.schemas.messages import RefusalPart, part_kind
from api.openai.schemas.refusals import unsupported_values

Status = Literal["in_progress", "completed", "incomplete"]
Phase = Literal["commentary", "final_answer"]
Id: TypeAlias = Annotated[str, Field(min_length=1, max_length=256)]


class InputText(Wire):
    """A part of what is told to the model."""

    type: Annotated[Literal["input_text"], unsupported_values(INPUT_PARTS)]
    text: str


class OutputText(Wire):
    """A part of what the model said; the literal lists what its messages hold, for its error."""

    type: Literal["output_text", "refusal"]
    text: str
    annotations: Annotated[list[Json], Field(fail_fast=True)] | None = None
    logprobs: Annotated[list[Json], Field(fail_fast=True)] | None = None


OutputPart: TypeAlias = Annotated[
    Annotated[OutputText, Tag("<part>")] | Annotated[RefusalPart, Tag("<refusal>")],
    Discriminator(part_kind),
]
InputContent: TypeAlias = Annotated[
    Annotated[str, Tag(TEXT)] | Annotated[list[InputText], Field(fail_fast=True, min_length=1), Tag(LIST)],
    Discriminator(text_or_list),
]
OutputContent: TypeAlias = Annotated[
    Annotated[str, Tag(TEXT)] | Annotated[list[OutputPart], Field(fail_fast=True, min_length=1), Tag(LIST)],
    Discriminator(text_or_list),
]


class InputMessage(Wire):
    """A message to the model."""

    type: Literal["message"] | None = None
    id: Id | None = None
    role: Literal["user", "system", "developer"]
    content: InputContent
    status: Status | None = None
    phase: Phase | None = None


class OutputMessage(Wire):
    """An earlier message of the model."""

    type: Literal["message"] | None = None
    id: Id | None = None
    role: Literal["assistant"]
    content: OutputContent
    status: Status | None = None
    phase: Phase | None = None


class UnknownMessageItem(Wire, extra="ignore"):
    """Never valid: gives the error for a missing or unknown role."""

    role: Literal["user", "assistant", "system", "developer"]


class Caller(Wire):
    """Who called a tool: the model itself, as no programs run here."""

    type: Literal["direct"]


class FunctionCallItem(Wire):
    """An earlier function call of the model; ``arguments`` is JSON in a string."""

    type: Literal["function_call"]
    id: Id | None = None
    call_id: Id
    name: Annotated[str, Field(min_length=1)]
    arguments: str
    status: Status | None = None
    caller: Caller | None = None


class FunctionOutputItem(Wire):
    """What a function gave back."""

    type: Literal["function_call_output"]
    id: Id | None = None
    call_id: Id
    output: InputContent
    name: str | None = None
    status: Status | None = None
    caller: Caller | None = None


class SummaryText(Wire):
    """A part of a summary of reasoning."""

    type: Literal["summary_text"]
    text: str


class ReasoningText(Wire):
    """A part of reasoning."""

    type: Literal["reasoning_text"]
    text: str


class Reasoning(Wire):
    """Earlier reasoning of the model."""

    type: Literal["reasoning"]
    id: Id | None = None
    summary: Annotated[list[SummaryText], Field(fail_fast=True)] | None = None
    content: Annotated[list[ReasoningText], Field(fail_fast=True)] | None = None
    status: Status | None = None


class UnknownItem(Wire, extra="ignore"):
    """Never valid: gives the error for a missing or unknown type."""

    type: Annotated[
        Literal["message", "function_call", "function_call_output", "reasoning"], unsupported_values(ITEMS)
    ]


_KINDS = {"function_call": "<call>", "function_call_output": "<output>", "reasoning": "<reasoning>"}
_ROLES = {"assistant": "<assistant>", "user": "<message>", "system": "<message>", "developer": "<message>"}


def _item_kind(value: Any) -> str:
    if not isinstance(value, dict):
        return "<item>"
    kind = value.get("type")
    if kind == "message" or (kind is None and "role" in value):
        role = value.get("role")
        return _ROLES.get(role, "<unknown>") if isinstance(role, str) else "<unknown>"
    return _KINDS.get(kind, "<item>") if isinstance(kind, str) else "<item>"


Item: TypeAlias = Annotated[
    Annotated[InputMessage, Tag("<message>")]
    | Annotated[OutputMessage, Tag("<assistant>")]
    | Annotated[UnknownMessageItem, Tag("<unknown>")]
    | Annotated[FunctionCallItem, Tag("<call>")]
    | Annotated[FunctionOutputItem, Tag("<output>")]
    | Annotated[Reasoning, Tag("<reasoning>")]
    | Annotated[UnknownItem, Tag("<item>")],
    Discriminator(_item_kind),
]

KNOWN_ITEMS = (InputMessage, OutputMessage, FunctionCallItem, FunctionOutputItem, Reasoning)
