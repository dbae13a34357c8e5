"""Translation of the parameters of a Responses request to those of a chat request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from api.openai.responses.schemas.request import AllowedTools, NamedFunction, ResponseRequest
from api.openai.schemas.sampling import EngineOptions

_COMMON_PARAMETERS = (
    *EngineOptions.model_fields.keys() - {"stream", "user"},
    *("chat_template_kwargs", "include_reasoning", "metadata"),
)


def chat_fields(
    request: ResponseRequest, fields: Mapping[str, Any]
) -> tuple[dict[str, Any], tuple[int, ...]]:
    """Return the chat request without its messages, and the original position of each of its tools."""
    chat = {name: fields[name] for name in _COMMON_PARAMETERS if name in fields}
    chat |= {"stream": True, "stream_options": {"include_usage": True}}
    if request.max_output_tokens is not None:
        chat["max_completion_tokens"] = request.max_output_tokens
    if request.reasoning is not None and request.reasoning.effort is not None:
        chat["reasoning_effort"] = request.reasoning.effort
    if request.has_logprobs:
        chat |= {"logprobs": True, "top_logprobs": request.top_logprobs or 0}
    if "format" in fields.get("text", {}):
        chat["response_format"] = _response_format(fields["text"]["format"])
    tool_fields, positions = _tool_fields(request, fields)
    return chat | tool_fields, positions


def _response_format(text_format: Mapping[str, Any]) -> dict[str, Any]:
    if text_format["type"] != "json_schema":
        return dict(text_format)
    schema = {name: value for name, value in text_format.items() if name != "type"}
    return {"type": "json_schema", "json_schema": schema}


def _tool_fields(
    request: ResponseRequest, fields: Mapping[str, Any]
) -> tuple[dict[str, Any], tuple[int, ...]]:
    """Return the parameters about tools, without the tools that ``allowed_tools`` excludes."""
    tools, choice = fields.get("tools") or [], request.tool_choice
    if not tools:
        return {}, ()
    positions = tuple(range(len(tools)))
    if isinstance(choice, AllowedTools):
        names = {tool.name for tool in choice.tools}
        positions = tuple(position for position in positions if tools[position]["name"] in names)
    chat: dict[str, Any] = {"tools": [_chat_tool(tools[position]) for position in positions]}
    if choice is not None:
        chat["tool_choice"] = _tool_choice(choice)
    if request.parallel_tool_calls is not None:
        chat["parallel_tool_calls"] = request.parallel_tool_calls
    return chat, positions


def _chat_tool(tool: Mapping[str, Any]) -> dict[str, Any]:
    function = {name: value for name, value in tool.items() if name != "type"}
    return {"type": "function", "function": function}


def _tool_choice(choice: str | NamedFunction | Any) -> Any:
    if isinstance(choice, NamedFunction):
        return {"type": "function", "function": {"name": choice.name}}
    return choice.mode if isinstance(choice, AllowedTools) else choice
