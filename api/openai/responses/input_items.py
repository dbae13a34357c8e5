"""Input items in their stored form, which is also the form in which the API lists them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from api.openai.responses.response_fields import IdPrefix, new_id
from api.openai.responses.schemas.items import (
    FunctionCallItem,
    FunctionOutputItem,
    InputMessage,
    InputText,
    Item,
    OutputMessage,
    OutputText,
    Reasoning,
)
from api.openai.schemas.messages import RefusalPart

StoredItem = dict[str, Any]
Part = dict[str, Any]


def stored_items(request_input: str | Sequence[Item] | None) -> tuple[StoredItem, ...]:
    """Return the items with an id each, and with their contents as lists of parts.

    Ids from the client are kept, unless one occurs twice: then the second item gets a new id.
    """
    if isinstance(request_input, str):
        request_input = [InputMessage(role="user", content=request_input)]
    items: dict[str, StoredItem] = {}
    for item in request_input or ():
        prefix, fields = _stored_fields(item)
        client_id = getattr(item, "id", None)
        item_id = client_id if client_id and client_id not in items else new_id(prefix)
        items[item_id] = {"id": item_id, "status": getattr(item, "status", None) or "completed", **fields}
    return tuple(items.values())


def _stored_fields(item: Item) -> tuple[IdPrefix, StoredItem]:
    match item:
        case InputMessage():
            content = _input_parts(item.content)
            return "msg", {"type": "message", "role": item.role, "content": content}
        case OutputMessage():
            phase = {"phase": item.phase} if item.phase else {}
            content = _output_parts(item.content)
            return "msg", {"type": "message", "role": "assistant", "content": content, **phase}
        case FunctionCallItem():
            function = {"call_id": item.call_id, "name": item.name, "arguments": item.arguments}
            return "fc", {"type": "function_call", **function}
        case FunctionOutputItem():
            name = {"name": item.name} if item.name else {}
            output = item.output if isinstance(item.output, str) else _input_parts(item.output)
            return "fco", {"type": "function_call_output", "call_id": item.call_id, "output": output, **name}
        case Reasoning():
            summary = [part.model_dump() for part in item.summary or ()]
            reasoning = [part.model_dump() for part in item.content or ()]
            return "rs", {"type": "reasoning", "summary": summary, "content": reasoning}
    raise TypeError(f"{type(item).__name__} is never valid")


def _input_parts(content: str | list[InputText]) -> list[Part]:
    if isinstance(content, str):
        return [{"type": "input_text", "text": content}]
    return [part.model_dump() for part in content]


def _output_parts(content: str | list[OutputText | RefusalPart]) -> list[Part]:
    if isinstance(content, str):
        return [output_text(content)]
    return [
        part.model_dump() if isinstance(part, RefusalPart) else output_text(part.text) for part in content
    ]


def output_text(text: str, logprobs: Sequence[Any] = ()) -> Part:
    """Return a part of type ``output_text``."""
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": list(logprobs)}
