"""Conversion of items to chat messages: text and calls of one turn of the model form one message."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from api.openai.errors.parameters import InvalidValue
from api.openai.responses.compaction_items import summary_of
from api.openai.responses.input_items import COMPACTION
from api.openai.responses.tool_names import OfferedFunction

Message = dict[str, Any]

_MESSAGE = re.compile(r"messages\[(\d+)\](?:\.tool_calls\[(\d+)\]\.function)?")


class Conversation:
    """Chat messages, each with the path of the item that it came from."""

    def __init__(self, instructions: str | None = None, tools: Sequence[OfferedFunction] = ()) -> None:
        """``tools``: the functions that the model may call, whose names their calls get."""
        self._model_names = {(tool.function.name, tool.namespace): tool.model_name for tool in tools}
        self.messages: list[Message] = []
        self._origins: list[str] = []
        self._call_origins: list[list[str]] = []
        self._call_ids: set[str] = set()
        self._current_turn: Message | None = None
        if instructions is not None:
            self._append({"role": "system", "content": instructions}, "instructions")

    def add(self, item: Mapping[str, Any], origin: str) -> None:
        """Add a stored item, found at the path ``origin`` of the request.

        Raises ApiError for an output without a call, and for the compaction of another service.
        """
        match item["type"]:
            case "message" if item["role"] != "assistant":
                self._append({"role": item["role"], "content": _content(item["content"])}, origin)
            case "message":
                self._add_text(_content(item["content"]), origin)
            case compaction if compaction == COMPACTION:
                self._append({"role": "user", "content": summary_of(item, origin)}, origin)
            case "reasoning":
                self._add_reasoning("".join(part["text"] for part in item.get("content") or ()), origin)
            case "function_call":
                name = self._model_names.get((item["name"], item.get("namespace")), item["name"])
                self._add_call(item["call_id"], name, item["arguments"], origin)
            case "function_call_output":
                self._check_call_id(item, origin)
                self._add_output(item["call_id"], item["output"], origin)
            case "custom_tool_call":
                self._add_call(item["call_id"], item["name"], _json({"input": item["input"]}), origin)
            case "local_shell_call" | "shell_call" | "apply_patch_call" as call_type:
                action = _json(item.get("action") or item.get("operation") or {})
                self._add_call(_call_id(item), call_type.removesuffix("_call"), action, origin)
            case other if other.endswith("_call_output") and _call_id(item) in self._call_ids:
                self._add_output(_call_id(item), _output(item.get("output")), origin)

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

    def _add_call(self, call_id: str, name: str, arguments: str, origin: str) -> None:
        turn = self._turn_without((), origin)
        turn["content"] = turn["content"] or None
        function = {"name": name, "arguments": arguments}
        turn.setdefault("tool_calls", []).append({"id": call_id, "type": "function", "function": function})
        self._call_origins[-1].append(origin)
        self._call_ids.add(call_id)

    def _check_call_id(self, item: Mapping[str, Any], origin: str) -> None:
        if item["call_id"] not in self._call_ids:
            reason = "no earlier function call has this id"
            raise InvalidValue(param=f"{origin}.call_id", reason=reason)

    def _add_output(self, call_id: str, output: str | list[dict[str, Any]], origin: str) -> None:
        content = output if isinstance(output, str) else _content(output)
        self._append({"role": "tool", "tool_call_id": call_id, "content": content}, origin)


def _call_id(item: Mapping[str, Any]) -> str:
    """Return the id of a call or output; items of older tools have their own id only."""
    return str(item.get("call_id") or item["id"])


def _output(output: Any) -> str | list[dict[str, Any]]:
    """Return the output of a tool as a text or as text parts."""
    if isinstance(output, str):
        return output
    if isinstance(output, list) and all(map(_is_text_part, output)):
        return [{"type": "input_text", "text": part["text"]} for part in output]
    # No longer than in the request, whose quota covers it; templates render arguments in their own form.
    return "" if output is None else json.dumps(output, ensure_ascii=False, separators=(",", ":"))


def _is_text_part(part: Any) -> bool:
    return isinstance(part, dict) and isinstance(part.get("text"), str)


def _json(arguments: object) -> str:
    return json.dumps(arguments, ensure_ascii=False)


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
