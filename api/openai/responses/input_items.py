"""Input items in their stored form, which is also the form in which the API lists them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from api.openai.responses.response_fields import IdPrefix, new_id
from api.openai.responses.schemas.items import (
    CompactionItem,
    CustomCallItem,
    CustomOutputItem,
    FunctionCallItem,
    FunctionOutputItem,
    InputMessage,
    InputText,
    Item,
    ItemReference,
    LocalCallItem,
    LocalOutputItem,
    OutputMessage,
    OutputText,
    Reasoning,
    RemoteItem,
)
from api.openai.schemas.messages import RefusalPart

StoredItem = dict[str, Any]
Part = dict[str, Any]
ITEM_REFERENCE = "item_reference"
COMPACTION = "compaction"
_WITHOUT_STATUS = (RemoteItem, CustomCallItem, CustomOutputItem, CompactionItem)


def stored_items(request_input: str | Sequence[Item] | None) -> tuple[StoredItem, ...]:
    """Return the items with an id each, and with their contents as lists of parts.

    Ids from the client are kept, unless one occurs twice: then the second item gets a new id.
    """
    if isinstance(request_input, str):
        request_input = [InputMessage(role="user", content=request_input)]
    items: list[StoredItem] = []
    used_ids: set[str] = set()
    for item in request_input or ():
        if isinstance(item, ItemReference):
            items.append({"id": item.id, "type": ITEM_REFERENCE})
            continue
        prefix, fields = _stored_fields(item)
        client_id = getattr(item, "id", None)
        item_id = client_id if client_id and client_id not in used_ids else new_id(prefix)
        used_ids.add(item_id)
        status = {} if isinstance(item, _WITHOUT_STATUS) else _status(item)
        items.append({"id": item_id, **status, **fields})
    return tuple(items)


def _status(item: Item) -> dict[str, str]:
    return {"status": getattr(item, "status", None) or "completed"}


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
            namespace = {"namespace": item.namespace} if item.namespace else {}
            return "fc", {"type": "function_call", **function, **namespace}
        case FunctionOutputItem():
            name = {"name": item.name} if item.name else {}
            output = item.output if isinstance(item.output, str) else _input_parts(item.output)
            return "fco", {"type": "function_call_output", "call_id": item.call_id, "output": output, **name}
        case Reasoning():
            summary = [part.model_dump() for part in item.summary or ()]
            reasoning = [part.model_dump() for part in item.content or ()]
            return "rs", {"type": "reasoning", "summary": summary, "content": reasoning}
        case CompactionItem():
            return "cmp", {"type": COMPACTION, "encrypted_content": item.encrypted_content}
        case CustomCallItem():
            call = {"call_id": item.call_id, "name": item.name, "input": item.input}
            return "ctc", {"type": "custom_tool_call", **call}
        case CustomOutputItem():
            output = item.output if isinstance(item.output, str) else _input_parts(item.output)
            return "ctco", {"type": "custom_tool_call_output", "call_id": item.call_id, "output": output}
        case LocalCallItem() | LocalOutputItem() | RemoteItem():
            # Stored as sent: their fields differ by type, and only some reach the model.
            return "item", item.model_dump(exclude={"id"}, exclude_none=True)
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
