"""Items to chat messages: what the model said and called in one turn becomes one message."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from api.openai.errors.parameters import InvalidValue

Message = dict[str, Any]

_MESSAGE = re.compile(r"messages\[(\d+)\](?:\.tool_calls\[(\d+)\]\.function)?")


class Conversation:
    """Messages made of items, and where each came from."""

    def __init__(self, instructions: str | None = None) -> None:
        self.messages: list[Message] = []
        self._origins: list[str] = []
        self._call_origins: list[list[str]] = []
        self._call_ids: set[str] = set()
        self._open: Message | None = None
        if instructions is not None:
            self._append({"role": "system", "content": instructions}, "instructions")

    def add(self, item: Mapping[str, Any], origin: str) -> None:
        """Add a stored item. ``origin``: its path in the request. Raises ApiError for an orphaned output."""
        match item["type"]:
            case "message" if item["role"] != "assistant":
                self._append({"role": item["role"], "content": _content(item["content"])}, origin)
            case "message":
                self._say(_content(item["content"]), origin)
            case "reasoning":
                self._reason("".join(part["text"] for part in item.get("content") or ()), origin)
            case "function_call":
                self._call(item, origin)
            case "function_call_output":
                self._output(item, origin)

    def origin_of(self, param: str) -> str:
        """The path in the Responses request for one in the chat request."""
        found = _MESSAGE.match(param)
        if found is None:
            return "input" if param == "messages" else param
        origin, rest = self._origins[int(found[1])], param[found.end() :]
        if found[2] is not None:
            origin = self._call_origins[int(found[1])][int(found[2])]
        # A position in the history says nothing to the client.
        return f"{origin}{rest}" if origin.startswith("input[") else origin

    def _append(self, message: Message, origin: str) -> Message:
        self.messages.append(message)
        self._origins.append(origin)
        self._call_origins.append([])
        self._open = message if message["role"] == "assistant" else None
        return message

    def _turn(self, origin: str, *, ended_by: Iterable[str]) -> Message:
        """The message of the model's turn; a new one if the last has something that must come later."""
        if self._open is not None and not any(self._open.get(name) for name in ended_by):
            return self._open
        # Chat wants a content, or calls beside a null.
        return self._append({"role": "assistant", "content": ""}, origin)

    def _say(self, content: Any, origin: str) -> None:
        turn = self._turn(origin, ended_by=("content", "tool_calls"))
        turn["content"] = content

    def _reason(self, text: str, origin: str) -> None:
        if text:
            turn = self._turn(origin, ended_by=("content", "tool_calls"))
            turn["reasoning"] = turn.get("reasoning", "") + text

    def _call(self, item: Mapping[str, Any], origin: str) -> None:
        turn = self._turn(origin, ended_by=())
        turn["content"] = turn["content"] or None
        function = {"name": item["name"], "arguments": item["arguments"]}
        turn.setdefault("tool_calls", []).append(
            {"id": item["call_id"], "type": "function", "function": function}
        )
        self._call_origins[-1].append(origin)
        self._call_ids.add(item["call_id"])

    def _output(self, item: Mapping[str, Any], origin: str) -> None:
        if item["call_id"] not in self._call_ids:
            reason = "no function call before it has this id"
            raise InvalidValue(param=f"{origin}.call_id", reason=reason)
        output = item["output"]
        content = output if isinstance(output, str) else _content(output)
        self._append({"role": "tool", "tool_call_id": item["call_id"], "content": content}, origin)


def _content(parts: list[dict[str, Any]]) -> str | list[dict[str, Any]]:
    """Chat content: one text as a string, which every template takes; several parts as such."""
    if len(parts) == 1 and "text" in parts[0]:
        return str(parts[0]["text"])
    return [
        {"type": "refusal", "refusal": part["refusal"]}
        if part["type"] == "refusal"
        else {"type": "text", "text": part["text"]}
        for part in parts
    ]
