"""Conversion of items to chat messages: text and calls of one turn of the model form one message."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from api.openai.errors.parameters import InvalidValue

Message = dict[str, Any]

_MESSAGE = re.compile(r"messages\[(\d+)\](?:\.tool_calls\[(\d+)\]\.function)?")


class Conversation:
    """Chat messages, each with the path of the item that it came from."""

    def __init__(self, instructions: str | None = None) -> None:
        self.messages: list[Message] = []
        self._origins: list[str] = []
        self._call_origins: list[list[str]] = []
        self._call_ids: set[str] = set()
        self._current_turn: Message | None = None
        if instructions is not None:
            self._append({"role": "system", "content": instructions}, "instructions")

    def add(self, item: Mapping[str, Any], origin: str) -> None:
        """Add a stored item, found at the path ``origin`` of the request.

        Raises ApiError for an output without a call.
        """
        match item["type"]:
            case "message" if item["role"] != "assistant":
                self._append({"role": item["role"], "content": _content(item["content"])}, origin)
            case "message":
                self._add_text(_content(item["content"]), origin)
            case "reasoning":
                self._add_reasoning("".join(part["text"] for part in item.get("content") or ()), origin)
            case "function_call":
                self._add_call(item, origin)
            case "function_call_output":
                self._add_output(item, origin)

    def origin_of(self, param: str) -> str:
        """Return the path in the Responses request for a path in the chat request."""
        match = _MESSAGE.match(param)
        if match is None:
            return "input" if param == "messages" else param
        origin, rest = self._origins[int(match[1])], param[match.end() :]
        if match[2] is not None:
            origin = self._call_origins[int(match[1])][int(match[2])]
        # The client can't see positions in the history.
        return f"{origin}{rest}" if origin.startswith("input[") else origin

    def _append(self, message: Message, origin: str) -> Message:
        self.messages.append(message)
        self._origins.append(origin)
        self._call_origins.append([])
        self._current_turn = message if message["role"] == "assistant" else None
        return message

    def _turn_without(self, fields: Iterable[str], origin: str) -> Message:
        """Return the message of the model's turn, or a new one if it has one of these fields already."""
        if self._current_turn is not None and not any(self._current_turn.get(name) for name in fields):
            return self._current_turn
        # Chat requires a content, or calls with a null content.
        return self._append({"role": "assistant", "content": ""}, origin)

    def _add_text(self, content: Any, origin: str) -> None:
        turn = self._turn_without(("content", "tool_calls"), origin)
        turn["content"] = content

    def _add_reasoning(self, text: str, origin: str) -> None:
        if text:
            turn = self._turn_without(("content", "tool_calls"), origin)
            turn["reasoning"] = turn.get("reasoning", "") + text

    def _add_call(self, item: Mapping[str, Any], origin: str) -> None:
        turn = self._turn_without((), origin)
        turn["content"] = turn["content"] or None
        function = {"name": item["name"], "arguments": item["arguments"]}
        turn.setdefault("tool_calls", []).append(
            {"id": item["call_id"], "type": "function", "function": function}
        )
        self._call_origins[-1].append(origin)
        self._call_ids.add(item["call_id"])

    def _add_output(self, item: Mapping[str, Any], origin: str) -> None:
        if item["call_id"] not in self._call_ids:
            reason = "no earlier function call has this id"
            raise InvalidValue(param=f"{origin}.call_id", reason=reason)
        output = item["output"]
        content = output if isinstance(output, str) else _content(output)
        self._append({"role": "tool", "tool_call_id": item["call_id"], "content": content}, origin)


def _content(parts: list[dict[str, Any]]) -> str | list[dict[str, Any]]:
    """Return the parts as chat content: a single text as a string, which every chat template accepts."""
    if len(parts) == 1 and "text" in parts[0]:
        return str(parts[0]["text"])
    return [
        {"type": "refusal", "refusal": part["refusal"]}
        if part["type"] == "refusal"
        else {"type": "text", "text": part["text"]}
        for part in parts
    ]
