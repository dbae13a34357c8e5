"""Rules for conversations: messages, tools, and the variables of the chat template."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from api.openai.errors.parameters import InvalidValue, JsonTooComplex, JsonTooDeep, UnsupportedParameter
from api.openai.schemas.chat import ChatRequest
from api.openai.schemas.messages import AssistantMessage, Message, ToolMessage
from api.openai.schemas.tokenize import TokenizeRequest
from api.openai.schemas.tools import AnyTool, NamedToolChoice, Tool
from api.openai.validation.grammars import CHARACTERS, MAX_SCHEMA_CHARACTERS, check_schema
from api.openai.validation.json_shape import MAX_DEPTH, check_shape

NO_TOOLS = "it requires 'tools', with at least one that is available here"
# Arguments of the renderer: with them, a tenant could replace the template or the conversation.
RESERVED_TEMPLATE_KWARGS = frozenset(
    {
        *("add_generation_prompt", "chat_template", "continue_final_message", "conversation", "documents"),
        *("max_length", "messages", "padding", "return_assistant_tokens_mask", "return_dict"),
        *("return_tensors", "tokenize", "tokenizer", "tokenizer_kwargs", "tools", "truncation"),
        # Parameters of the renderer's functions, and names that templates call.
        *("chat_template_kwargs", "cls", "conversations", "kwargs", "mm_processor_kwargs", "model_config"),
        *("params", "prompt", "renderer", "request", "self", "template"),
        *("cycler", "dict", "joiner", "lipsum", "namespace", "raise_exception", "range", "strftime_now"),
    }
)

# Python's parser rejects longer numbers; an unpaired surrogate has no UTF-8 encoding.
_NEEDS_PARSING = re.compile(r"\\u[dD][89a-fA-F]|[0-9]{4301}")
MAX_ARGUMENT_BRACKETS = 100_000  # in all arguments of a request, including those in strings


def check_final_message(request: ChatRequest | TokenizeRequest) -> None:
    """Raise ApiError if the last message would be both continued and, by default, closed."""
    if request.continue_final_message and request.add_generation_prompt is not False:
        raise InvalidValue(
            param="continue_final_message", reason="it requires 'add_generation_prompt' to be false"
        )


def check_tools(request: ChatRequest) -> None:
    """Raise ApiError for invalid tools, and for choices without their tool."""
    choice, tools = request.tool_choice, offered_tools(request.tools)
    if not tools:
        if choice not in (None, "none", "auto"):
            raise InvalidValue(param="tool_choice", reason=NO_TOOLS)
        return
    names = check_tool_names(tools)
    if isinstance(choice, NamedToolChoice) and choice.function.name not in names:
        raise InvalidValue(
            param="tool_choice.function.name", reason=f"no tool is named '{choice.function.name}'"
        )
    _check_strict_tools(request.tools or (), choice)


def offered_tools(tools: Sequence[AnyTool] | None) -> list[Tool]:
    """Return the tools that the model may call."""
    return [tool for tool in tools or () if isinstance(tool, Tool)]


def check_tool_names(tools: Sequence[Tool]) -> set[str]:
    """Return the tools' names. Raises ApiError if two tools have the same name."""
    names = {tool.function.name for tool in tools}
    if len(names) != len(tools):
        raise InvalidValue(param="tools", reason="two tools have the same name")
    return names


def _check_strict_tools(tools: Sequence[AnyTool], choice: str | NamedToolChoice | None) -> None:
    """Raise ApiError for schemas that the engine would have to compile as they are, and can't.

    Other tools have no limits here: without ``strict`` nothing is compiled for an automatic choice, and for a
    forced one the worker omits from the grammar what it can't express (runtime/constraints/tool_grammars.py).
    """
    name = choice.function.name if isinstance(choice, NamedToolChoice) else None
    total = 0
    for position, tool in enumerate(tools):
        function = tool.function if isinstance(tool, Tool) else None
        if function is None or not function.strict or choice == "none" or name not in (None, function.name):
            continue
        if function.parameters is not None:
            total += check_schema(function.parameters, f"tools[{position}].function.parameters")
    if total > MAX_SCHEMA_CHARACTERS:
        reason = (
            f"the schemas of strict tools have {total} {CHARACTERS} in total, "
            f"above the limit of {MAX_SCHEMA_CHARACTERS}; make some of them not strict"
        )
        raise InvalidValue(param="tools", reason=reason)


def check_template_kwargs(kwargs: dict[str, Any]) -> None:
    """Raise ApiError for reserved variables and nested values."""
    for key, value in kwargs.items():
        param = f"chat_template_kwargs.{key}"
        if _is_reserved(key):
            raise UnsupportedParameter(param=param, reason="it is set by the platform")
        if isinstance(value, dict | list):
            raise InvalidValue(param=param, reason="expected a string, number, boolean or null")


def _is_reserved(variable: str) -> bool:
    # Transformers lets eos_token and others replace the model's own, which templates repeat in each message.
    is_special_token = variable.endswith("_token")
    is_name = variable.isidentifier() and not variable.startswith("_")
    return variable in RESERVED_TEMPLATE_KWARGS or is_special_token or not is_name


def check_messages(messages: Sequence[Message]) -> None:
    """Raise ApiError for the first message that breaks a rule."""
    brackets = 0
    call_ids: set[str] = set()
    for position, message in enumerate(messages):
        if isinstance(message, AssistantMessage):
            brackets = _check_assistant(message, f"messages[{position}]", brackets)
            call_ids.update(call.id for call in message.tool_calls or ())
        elif isinstance(message, ToolMessage) and message.tool_call_id not in call_ids:
            raise InvalidValue(
                param=f"messages[{position}].tool_call_id", reason="no earlier tool call has this id"
            )


def _check_assistant(message: AssistantMessage, path: str, brackets: int) -> int:
    """Return the number of brackets in arguments, including those of earlier messages."""
    functions = [
        (call.function, f"tool_calls[{position}].function")
        for position, call in enumerate(message.tool_calls or ())
    ]
    if message.function_call is not None:
        functions.append((message.function_call, "function_call"))
    for function, name in functions:
        param, arguments = f"{path}.{name}.arguments", function.arguments
        brackets += arguments.count("[") + arguments.count("{")
        if brackets > MAX_ARGUMENT_BRACKETS:
            raise InvalidValue(
                param=param,
                reason=f"arguments up to here have more than {MAX_ARGUMENT_BRACKETS} brackets",
            )
        _check_arguments(arguments, param)
    return brackets


def _check_arguments(arguments: str, param: str) -> None:
    """Check arguments, which engines parse for the template. Invalid JSON becomes an empty object there."""
    try:
        check_shape(arguments.encode())
    except JsonTooDeep:
        raise InvalidValue(param=param, reason=f"it is nested deeper than {MAX_DEPTH} levels") from None
    except JsonTooComplex as error:
        raise InvalidValue(param=param, reason=f"it has more than {error.limit} {error.parts}") from None
    if not _NEEDS_PARSING.search(arguments):
        return
    try:
        json.dumps(json.loads(arguments), ensure_ascii=False).encode()
    except json.JSONDecodeError:
        return
    except UnicodeEncodeError:
        raise InvalidValue(param=param, reason="a string contains an unpaired surrogate") from None
    except ValueError:
        raise InvalidValue(param=param, reason="a number is too long") from None
