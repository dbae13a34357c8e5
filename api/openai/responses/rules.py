"""Rules between the parameters of a Responses request that neither its schema nor the chat rules cover."""

from __future__ import annotations

from collections.abc import Sequence

from api.openai.errors.parameters import InvalidValue, MissingRequiredParameter
from api.openai.responses.chat_parameters import allowed_functions
from api.openai.responses.schemas.request import LOGPROBS, AllowedTools, NamedFunction, ResponseRequest
from api.openai.responses.tool_names import OfferedFunction
from api.openai.validation.conversation_rules import NO_TOOLS
from api.openai.validation.rules import check_stream_options


def check_response(request: ResponseRequest, functions: Sequence[OfferedFunction]) -> None:
    """Raise ApiError for the first rule that the request breaks. ``functions``: all in its tools."""
    if request.input is None and request.previous_response_id is None:
        raise MissingRequiredParameter(param="input")
    if request.background and request.store is False:
        raise InvalidValue(param="background", reason="it requires 'store' to be true")
    if request.top_logprobs and not request.has_logprobs:
        raise InvalidValue(param="top_logprobs", reason=f"it requires '{LOGPROBS}' in 'include'")
    text_format = request.text.format if request.text is not None else None
    if request.structured_outputs is not None and text_format is not None and text_format.type != "text":
        raise InvalidValue(param="structured_outputs", reason="it can't be combined with 'text.format'")
    check_stream_options(request.is_streamed, request.stream_options)
    _check_tool_choice(request, functions)


def _check_tool_choice(request: ResponseRequest, functions: Sequence[OfferedFunction]) -> None:
    choice = request.tool_choice
    is_forced = choice not in (None, "none", "auto")
    if is_forced and not functions and getattr(choice, "mode", None) != "auto":
        raise InvalidValue(param="tool_choice", reason=NO_TOOLS)
    names = {entry.function.name for entry in functions}
    if isinstance(choice, NamedFunction) and choice.name not in names:
        raise InvalidValue(param="tool_choice.name", reason=f"no tool is named '{choice.name}'")
    if isinstance(choice, AllowedTools):
        for position, tool in enumerate(choice.tools):
            if isinstance(tool, NamedFunction) and tool.name not in names:
                param = f"tool_choice.tools[{position}].name"
                raise InvalidValue(param=param, reason=f"no tool is named '{tool.name}'")
        if choice.mode == "required" and not allowed_functions(request, functions):
            raise InvalidValue(param="tool_choice", reason=NO_TOOLS)
