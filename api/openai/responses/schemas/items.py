"""Schemas of the items of ``input``: messages, function calls with their outputs, and reasoning."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Discriminator, Field, Tag

from api.openai.responses.schemas.parameters import UNSUPPORTED_INPUT_PARTS, UNSUPPORTED_ITEMS
from api.openai.schemas.fields import LIST, TEXT, Json, Wire, text_or_list
from api.openai.schemas.messages import RefusalPart, part_tag
from api.openai.schemas.unsupported_values import unsupported_values

Status = Literal["in_progress", "completed", "incomplete"]
Phase = Literal["commentary", "final_answer"]
Id: TypeAlias = Annotated[str, Field(min_length=1, max_length=256)]


class InputText(Wire):
    """A text part of an input message."""

    type: Annotated[Literal["input_text"], unsupported_values(UNSUPPORTED_INPUT_PARTS)]
    text: str


class OutputText(Wire):
    """A text part of an output message. The literal also has the other valid type, for its error."""

    type: Literal["output_text", "refusal"]
    text: str
    annotations: Annotated[list[Json], Field(fail_fast=True)] | None = None
    logprobs: Annotated[list[Json], Field(fail_fast=True)] | None = None


OutputPart: TypeAlias = Annotated[
    Annotated[OutputText, Tag("<part>")] | Annotated[RefusalPart, Tag("<refusal>")],
    Discriminator(part_tag),
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
    """Never valid: produces the error for a missing or unknown role."""

    role: Literal["user", "assistant", "system", "developer"]


class Caller(Wire):
    """The caller of a tool, which is always the model."""

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
    """The output of a function."""

    type: Literal["function_call_output"]
    id: Id | None = None
    call_id: Id
    output: InputContent
    name: str | None = None
    status: Status | None = None
    caller: Caller | None = None


class SummaryText(Wire):
    """A part of a reasoning summary."""

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
    """Never valid: produces the error for a missing or unknown type."""

    type: Annotated[
        Literal["message", "function_call", "function_call_output", "reasoning"],
        unsupported_values(UNSUPPORTED_ITEMS),
    ]


_TAGS_BY_TYPE = {"function_call": "<call>", "function_call_output": "<output>", "reasoning": "<reasoning>"}
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
    return _TAGS_BY_TYPE.get(item_type, "<item>") if isinstance(item_type, str) else "<item>"


Item: TypeAlias = Annotated[
    Annotated[InputMessage, Tag("<message>")]
    | Annotated[OutputMessage, Tag("<assistant>")]
    | Annotated[UnknownMessageItem, Tag("<unknown>")]
    | Annotated[FunctionCallItem, Tag("<call>")]
    | Annotated[FunctionOutputItem, Tag("<output>")]
    | Annotated[Reasoning, Tag("<reasoning>")]
    | Annotated[UnknownItem, Tag("<item>")],
    Discriminator(_item_tag),
]

VALID_ITEMS = (InputMessage, OutputMessage, FunctionCallItem, FunctionOutputItem, Reasoning)
