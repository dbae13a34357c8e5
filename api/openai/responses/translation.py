"""The parameters of a Responses request as those of a chat request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from api.openai.responses.schema import AllowedTools, NamedFunction, ResponseRequest
from api.openai.schemas.sampling import EngineOptions

_SAME = (
    *EngineOptions.model_fields.keys() - {"stream", "user"},
    *("chat_template_kwargs", "include_reasoning", "metadata"),
)


def chat_fields(
    request: ResponseRequest, fields: Mapping[str, Any]
) -> tuple[dict[str, Any], tuple[int, ...]]:
    """The chat request without its messages, and which position each of its tools had."""
    chat = {name: fields[name] for name in _SAME if name in fields}
    chat |= {"stream": True, "stream_options": {"include_usage": True}}
    if request.max_output_tokens is not None:
        chat["max_completion_tokens"] = request.max_output_tokens
    if request.reasoning is not None and request.reasoning.effort is not None:
        chat["reasoning_effort"] = request.reasoning.effort
    if request.with_logprobs:
        chat |= {"logprobs": True, "top_logprobs": request.top_logprobs or 0}
    if "format" in fields.get("text", {}):
        chat["response_format"] = _format(fields["text"]["format"])
    tools, positions = _tools(request, fields)
    return chat | tools, positions


def _format(given: Mapping[str, Any]) -> dict[str, Any]:
    if given["type"] != "json_schema":
        return dict(given)
    schema = {name: value for name, value in given.items() if name != "type"}
    return {"type": "json_schema", "json_schema": schema}


def _tools(request: ResponseRequest, fields: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[int, ...]]:
    """Tools that the choice doesn't allow are left out: what a model isn't shown, it can't call."""
    given, choice = fields.get("tools") or [], request.tool_choice
    if not given:
        return {}, ()
    positions = tuple(range(len(given)))
    if isinstance(choice, AllowedTools):
        allowed = {tool.name for tool in choice.tools}
        positions = tuple(position for position in positions if given[position]["name"] in allowed)
    chat: dict[str, Any] = {"tools": [_tool(given[position]) for position in positions]}
    if choice is not None:
        chat["tool_choice"] = _choice(choice)
    if request.parallel_tool_calls is not None:
        chat["parallel_tool_calls"] = request.parallel_tool_calls
    return chat, positions


def _tool(given: Mapping[str, Any]) -> dict[str, Any]:
    function = {name: value for name, value in given.items() if name != "type"}
    return {"type": "function", "function": function}


def _choice(choice: str | NamedFunction | Any) -> Any:
    if isinstance(choice, NamedFunction):
        return {"type": "function", "function": {"name": choice.name}}
    return choice.mode if isinstance(choice, AllowedTools) else choice
