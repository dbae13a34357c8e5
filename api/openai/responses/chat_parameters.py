"""Translation of the parameters of a Responses request to those of a chat request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from api.openai.responses.schemas.request import AllowedTools, NamedFunction, ResponseRequest
from api.openai.responses.tool_names import OfferedFunction
from api.openai.schemas.sampling import EngineOptions

_COMMON_PARAMETERS = (
    *EngineOptions.model_fields.keys() - {"stream", "user"},
    *("chat_template_kwargs", "include_reasoning"),
)


def chat_fields(
    request: ResponseRequest, fields: Mapping[str, Any], functions: Sequence[OfferedFunction]
) -> dict[str, Any]:
    """Return the chat request without its messages. ``functions``: those that the model may call."""
    chat = {name: fields[name] for name in _COMMON_PARAMETERS if name in fields}
    chat |= {"stream": True, "stream_options": {"include_usage": True}}
    if request.metadata is not None:
        chat["metadata"] = request.metadata
    if request.max_output_tokens is not None:
        chat["max_completion_tokens"] = request.max_output_tokens
    if request.reasoning is not None and request.reasoning.effort is not None:
        chat["reasoning_effort"] = request.reasoning.effort
    if request.has_logprobs:
        chat |= {"logprobs": True, "top_logprobs": request.top_logprobs or 0}
    if "format" in fields.get("text", {}):
        chat["response_format"] = _response_format(fields["text"]["format"])
    return chat | _tool_fields(request, functions)


def _response_format(text_format: Mapping[str, Any]) -> dict[str, Any]:
    if text_format["type"] != "json_schema":
        return dict(text_format)
    schema = {name: value for name, value in text_format.items() if name != "type"}
    return {"type": "json_schema", "json_schema": schema}


def allowed_functions(
    request: ResponseRequest, functions: Sequence[OfferedFunction]
) -> tuple[OfferedFunction, ...]:
    """Return the functions without those that ``allowed_tools`` excludes."""
    choice = request.tool_choice
    if not isinstance(choice, AllowedTools):
        return tuple(functions)
    names = {tool.name for tool in choice.tools if isinstance(tool, NamedFunction)}
    return tuple(entry for entry in functions if entry.function.name in names)


def _tool_fields(request: ResponseRequest, functions: Sequence[OfferedFunction]) -> dict[str, Any]:
    if not functions:
        return {}
    choice = request.tool_choice
    chat: dict[str, Any] = {"tools": [_chat_tool(entry) for entry in functions]}
    if isinstance(choice, NamedFunction):
        name = next(entry.model_name for entry in functions if entry.function.name == choice.name)
        chat["tool_choice"] = {"type": "function", "function": {"name": name}}
    elif choice is not None:
        chat["tool_choice"] = choice.mode if isinstance(choice, AllowedTools) else choice
    if request.parallel_tool_calls is not None:
        chat["parallel_tool_calls"] = request.parallel_tool_calls
    return chat


def _chat_tool(tool: OfferedFunction) -> dict[str, Any]:
    function = tool.function
    fields = {
        "name": tool.model_name,
        "description": function.description,
        "parameters": function.parameters,
        "strict": function.strict,
    }
    return {
        "type": "function",
        "function": {name: value for name, value in fields.items() if value is not None},
    }
