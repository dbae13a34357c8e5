"""The deprecated ``functions`` and ``function_call``, translated to tools and back.

Rules and engines know tools only. An error about a tool names the function that it came from, and the answer
to a request with ``functions`` has a ``function_call``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from api.openai.errors.base import ApiError
from api.openai.errors.parameters import InvalidValue
from api.openai.schemas.chat import ChatRequest
from api.openai.schemas.tools import FunctionName, NamedToolChoice, Tool, ToolChoice

_TOOL = re.compile(r"tools\[(\d+)\]\.function")


def with_tools(request: ChatRequest) -> ChatRequest:
    """Return the request with its functions as tools. Raises ApiError if it has both."""
    if not request.functions:
        if isinstance(request.function_call, FunctionName):
            raise InvalidValue(param="function_call", reason="it requires 'functions'")
        return request
    for name in ("tools", "tool_choice"):
        if getattr(request, name) is not None:
            raise InvalidValue(param=name, reason="it can't be combined with 'functions'")
    tools = [Tool(type="function", function=function) for function in request.functions]
    choice: ToolChoice | None = None
    if isinstance(request.function_call, FunctionName):
        choice = NamedToolChoice(type="function", function=request.function_call)
    elif request.function_call is not None:
        choice = request.function_call
    # A function_call is a single call.
    return request.model_copy(update={"tools": tools, "tool_choice": choice, "parallel_tool_calls": False})


def functions_error(error: ApiError) -> ApiError:
    """Return an error about tools as one about functions."""
    param = error.param or ""
    if match := _TOOL.match(param):
        return error.at(f"functions[{match[1]}]{param[match.end() :]}")
    if param == "tools":
        return error.at("functions")
    if param.startswith("tool_choice"):
        return error.at(
            param.replace("tool_choice.function", "function_call").replace("tool_choice", "function_call")
        )
    return error


def convert_messages(messages: list[dict[str, Any]]) -> None:
    """Replace function calls in an engine's messages by tool calls, and their outputs by tool messages."""
    call_ids: dict[str, str] = {}
    for position, message in enumerate(messages):
        call_id = f"call_{position}"
        if (call := message.pop("function_call", None)) is not None and not message.get("tool_calls"):
            message["tool_calls"] = [{"id": call_id, "type": "function", "function": call}]
            call_ids[call["name"]] = call_id
        if message["role"] == "function":
            message |= {"role": "tool", "tool_call_id": call_ids.get(message["name"], call_id)}


def function_call_completion(completion: Mapping[str, Any]) -> dict[str, Any]:
    """Return a chat completion with function calls in place of tool calls."""
    return {**completion, "choices": [_whole_choice(choice) for choice in completion["choices"]]}


def _whole_choice(choice: Mapping[str, Any]) -> dict[str, Any]:
    message = dict(choice["message"])
    calls = message.pop("tool_calls", None)
    if calls:
        message["function_call"] = calls[0]["function"]
    return _finished({**choice, "message": message}, has_call=bool(calls))


class FunctionCallChunks:
    """Translates the chunks of one stream. Deltas of other calls than the first are dropped."""

    def __init__(self) -> None:
        self._with_call: set[int] = set()

    def add(self, chunk: Mapping[str, Any]) -> dict[str, Any]:
        """Return the chunk with deltas of function calls in place of those of tool calls."""
        return {**chunk, "choices": [self._choice(choice) for choice in chunk["choices"]]}

    def _choice(self, choice: Mapping[str, Any]) -> dict[str, Any]:
        delta, position = dict(choice["delta"]), choice["index"]
        for call in delta.pop("tool_calls", None) or ():
            self._with_call.add(position)
            if call.get("index", 0) == 0:
                function = call.get("function") or {}
                delta["function_call"] = {name: text for name, text in function.items() if text is not None}
        return _finished({**choice, "delta": delta}, has_call=position in self._with_call)


def _finished(choice: dict[str, Any], *, has_call: bool) -> dict[str, Any]:
    # An engine reports a named choice as stopped.
    if has_call and choice.get("finish_reason") in ("tool_calls", "stop"):
        choice["finish_reason"] = "function_call"
    return choice
