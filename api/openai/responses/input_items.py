"""Input items in the one form in which they are stored, listed and read again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from api.openai.responses.items import (
    FunctionCallItem,
    FunctionOutputItem,
    InputMessage,
    InputText,
    Item,
    OutputMessage,
    OutputText,
    Reasoning,
)
from api.openai.responses.response_fields import Prefix, new_id
from api.openai.schemas.messages import RefusalPart

Stored = dict[str, Any]


def stored_items(given: str | Sequence[Item] | None) -> tuple[Stored, ...]:
    """The items as the API lists them: an id each, and contents as parts.

    An id that the client gave is kept; one that it gave twice is replaced the second time.
    """
    items = [InputMessage(role="user", content=given)] if isinstance(given, str) else given or ()
    stored: dict[str, Stored] = {}
    for item in items:
        prefix, form = _form(item)
        given_id = getattr(item, "id", None)
        item_id = given_id if given_id and given_id not in stored else new_id(prefix)
        stored[item_id] = {"id": item_id, "status": getattr(item, "status", None) or "completed", **form}
    return tuple(stored.values())


def _form(item: Item) -> tuple[Prefix, Stored]:
    match item:
        case InputMessage():
            content = _input_parts(item.content)
            return "msg", {"type": "message", "role": item.role, "content": content}
        case OutputMessage():
            phase = {"phase": item.phase} if item.phase else {}
            content = _output_parts(item.content)
            return "msg", {"type": "message", "role": "assistant", "content": content, **phase}
        case FunctionCallItem():
            named = {"call_id": item.call_id, "name": item.name}
            return "fc", {"type": "function_call", **named, "arguments": item.arguments}
        case FunctionOutputItem():
            name = {"name": item.name} if item.name else {}
            output = item.output if isinstance(item.output, str) else _input_parts(item.output)
            return "fco", {"type": "function_call_output", "call_id": item.call_id, "output": output, **name}
        case Reasoning():
            summary = [part.model_dump() for part in item.summary or ()]
            reasoning = [part.model_dump() for part in item.content or ()]
            return "rs", {"type": "reasoning", "summary": summary, "content": reasoning}
    raise TypeError(f"{type(item).__name__} is never valid")


def _input_parts(content: str | list[InputText]) -> list[Stored]:
    if isinstance(content, str):
        return [{"type": "input_text", "text": content}]
    return [part.model_dump() for part in content]


def _output_parts(content: str | list[OutputText | RefusalPart]) -> list[Stored]:
    if isinstance(content, str):
        return [output_text(content)]
    return [
        part.model_dump() if isinstance(part, RefusalPart) else output_text(part.text) for part in content
    ]


def output_text(text: str, logprobs: Sequence[Any] = ()) -> Stored:
    """A part of type ``output_text``."""
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": list(logprobs)}
