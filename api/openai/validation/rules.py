"""What the schemas can't say: rules between parameters, and values that are refused with a reason."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from api.openai.errors.base import ApiError, printable
from api.openai.errors.parameters import (
    IntegerBelowMinValue,
    InvalidValue,
    MissingRequiredParameter,
    StringAboveMaxLength,
    UnsupportedParameter,
    UnsupportedValue,
)
from api.openai.schemas.chat import ChatRequest
from api.openai.schemas.completions import CompletionRequest
from api.openai.schemas.fields import AnyStreamOptions, StructuredOutputs
from api.openai.schemas.messages import AssistantMessage, Message, ToolMessage
from api.openai.schemas.parameters import WITHOUT_EFFECT
from api.openai.schemas.sampling import Sampling
from api.openai.schemas.tokenize import TokenizeRequest
from api.openai.schemas.tools import NamedToolChoice, SchemaFormat, Tool
from api.openai.validation.grammars import (
    MAX_SCHEMAS_BYTES,
    check_choices,
    check_pattern,
    check_schema,
    check_schema_text,
)
from api.openai.validation.json_body import MAX_DEPTH, check_shape

# Arguments of the renderer itself: a tenant could swap the template or the conversation with them.
RESERVED_TEMPLATE_KWARGS = frozenset(
    {
        *("add_generation_prompt", "chat_template", "continue_final_message", "conversation", "documents"),
        *("max_length", "messages", "padding", "return_assistant_tokens_mask", "return_dict"),
        *("return_tensors", "tokenize", "tokenizer", "tokenizer_kwargs", "tools", "truncation"),
        # Names of the arguments of those functions, and of what templates call.
        *("chat_template_kwargs", "cls", "conversations", "kwargs", "mm_processor_kwargs", "model_config"),
        *("params", "prompt", "renderer", "request", "self", "template"),
        *("cycler", "dict", "joiner", "lipsum", "namespace", "raise_exception", "range", "strftime_now"),
    }
)

_OF_CONVERSATIONS = ("add_generation_prompt", "continue_final_message", "chat_template_kwargs", "tools")
# Python's parser refuses longer numbers; half a surrogate pair can't be written as UTF-8.
SUSPECT = re.compile(r"\\u[dD][89a-fA-F]|[0-9]{4301}")
MAX_ARGUMENT_BRACKETS = 100_000  # in all arguments of a request, those in strings included


def check_chat(request: ChatRequest) -> None:
    """Raise ApiError for the first rule of a chat request that doesn't hold."""
    _check_sampling(request)
    _check_least(request, request.completion_limit)
    _check_limits(request)
    _check_end(request)
    _check_tools(request)
    _check_fixed(request)
    _check_template_kwargs(request.chat_template_kwargs or {})
    _check_messages(request.messages)


def check_completion(request: CompletionRequest) -> None:
    """Raise ApiError for the first rule of a completion request that doesn't hold."""
    _check_sampling(request)
    _check_least(request, request.completion_limit)
    if request.max_tokens == 0 and not request.echo:
        raise IntegerBelowMinValue(param="max_tokens", sign=">=", bound=1, value=0)
    if request.best_of is not None and request.best_of != (request.n or 1):
        raise _unsupported("best_of", request.best_of)


def check_tokenize(request: TokenizeRequest) -> None:
    """Raise ApiError for the first rule of a tokenize request that doesn't hold."""
    if request.messages is None:
        if request.prompt is None:
            raise MissingRequiredParameter(param="prompt")
        for name in _OF_CONVERSATIONS:
            if getattr(request, name) is not None:
                raise InvalidValue(param=name, reason="it is only allowed with 'messages'")
        return
    if request.prompt is not None:
        raise InvalidValue(param="messages", reason="it can't be combined with 'prompt'")
    _check_end(request)
    _check_tool_schemas(request.tools or ())
    _check_template_kwargs(request.chat_template_kwargs or {})
    _check_messages(request.messages)


def _unsupported(param: str, value: Any) -> ApiError:
    return UnsupportedValue(param=param, value=printable(repr(value)), reason=WITHOUT_EFFECT[param])


def check_stream_options(stream: bool, options: AnyStreamOptions | None) -> None:
    """Raise ApiError for options of a stream where there is none, and for padding of its events."""
    if options is None:
        return
    if not stream:
        raise InvalidValue(param="stream_options", reason="it is only allowed when 'stream' is true")
    if options.include_obfuscation:
        param = "stream_options.include_obfuscation"
        reason = "events are not padded, send false"
        raise UnsupportedValue(param=param, value="true", reason=reason)


def _check_sampling(request: Sampling) -> None:
    check_stream_options(request.streamed, request.stream_options)
    for token in request.logit_bias or ():
        if not (token.isascii() and token.isdigit() and len(token) <= 7) or str(int(token)) != token:
            raise InvalidValue(
                param="logit_bias", reason=f"keys must be token ids, '{printable(token)}' is none"
            )
    _check_constraints(request)


def _check_least(request: Sampling, limit: int | None) -> None:
    if request.min_tokens is not None and limit is not None and request.min_tokens > limit:
        raise InvalidValue(param="min_tokens", reason=f"the answer has {limit} tokens at most")


# What takes tokens away from a constrained answer may leave none that the constraint allows.
_EXCLUDE_TOKENS = ("allowed_token_ids", "bad_words", "min_tokens")


def _check_constraints(request: Sampling) -> None:
    if request.constrained:
        for name in _EXCLUDE_TOKENS:
            if getattr(request, name):
                raise InvalidValue(
                    param=name, reason="it can't be combined with a constraint on the answer's form"
                )
    if isinstance(request.response_format, SchemaFormat):
        check_schema(request.response_format.json_schema.schema_, "response_format.json_schema.schema")
    if request.structured_outputs is not None:
        constraints = request.structured_outputs.model_dump(exclude_none=True)
        if len(constraints) != 1:
            raise InvalidValue(
                param="structured_outputs",
                reason=f"expected exactly one constraint, found {len(constraints)}",
            )
        if request.response_format is not None and request.response_format.type != "text":
            raise InvalidValue(
                param="structured_outputs", reason="it can't be combined with 'response_format'"
            )
        _check_constraint(request.structured_outputs)


def _check_constraint(asked: StructuredOutputs) -> None:
    if asked.json_ is not None:
        check_schema_text(asked.json_, "structured_outputs.json")
    if asked.regex is not None:
        check_pattern(asked.regex, "structured_outputs.regex")
    if asked.json_object is False:
        raise InvalidValue(param="structured_outputs.json_object", reason="expected true")
    if asked.choice is not None:
        check_choices(asked.choice, "structured_outputs.choice")


def _check_limits(request: ChatRequest) -> None:
    if request.max_tokens is not None and request.max_completion_tokens is not None:
        raise InvalidValue(
            param="max_tokens",
            reason="it can't be combined with 'max_completion_tokens', send only the latter",
        )
    if request.top_logprobs is not None and not request.logprobs:
        raise InvalidValue(param="top_logprobs", reason="it is only allowed when 'logprobs' is true")


def _check_end(request: ChatRequest | TokenizeRequest) -> None:
    """A last message can't be gone on with and ended at once; the engine's default is to end it."""
    if request.continue_final_message and request.add_generation_prompt is not False:
        raise InvalidValue(
            param="continue_final_message", reason="it is only allowed when 'add_generation_prompt' is false"
        )


def _check_tools(request: ChatRequest) -> None:
    choice = request.tool_choice
    if request.tools is None:
        if choice is not None and choice != "none":
            raise InvalidValue(param="tool_choice", reason="it is only allowed when 'tools' are given")
        if request.parallel_tool_calls is not None:
            raise InvalidValue(
                param="parallel_tool_calls", reason="it is only allowed when 'tools' are given"
            )
        return
    names = _check_tool_schemas(request.tools)
    if isinstance(choice, NamedToolChoice) and choice.function.name not in names:
        raise InvalidValue(
            param="tool_choice.function.name", reason=f"no tool is named '{choice.function.name}'"
        )


def _check_tool_schemas(tools: Sequence[Tool]) -> set[str]:
    """The tools' names."""
    names = {tool.function.name for tool in tools}
    if len(names) != len(tools):
        raise InvalidValue(param="tools", reason="two tools have the same name")
    total = 0
    for position, tool in enumerate(tools):
        if tool.function.parameters is not None:
            total += check_schema(tool.function.parameters, f"tools[{position}].function.parameters")
    if total > MAX_SCHEMAS_BYTES:
        raise InvalidValue(
            param="tools", reason=f"their parameters have {total} bytes, {MAX_SCHEMAS_BYTES} are allowed"
        )
    return names


def _check_fixed(request: ChatRequest) -> None:
    """Parameters of which one value is what happens anyway; others would be silently ignored."""
    if request.store:
        raise _unsupported("store", True)
    if request.service_tier not in (None, "auto", "default"):
        raise _unsupported("service_tier", request.service_tier)
    if request.modalities not in (None, ["text"]):
        raise _unsupported("modalities", request.modalities)
    if request.verbosity not in (None, "medium"):
        raise _unsupported("verbosity", request.verbosity)
    for key in request.metadata or ():
        if len(key) > 64:
            raise StringAboveMaxLength(param="metadata", bound=64, length=len(key))


def _check_template_kwargs(kwargs: dict[str, Any]) -> None:
    for key, value in kwargs.items():
        param = f"chat_template_kwargs.{key}"
        if key in RESERVED_TEMPLATE_KWARGS or not key.isidentifier() or key.startswith("_"):
            raise UnsupportedParameter(param=param, reason="the platform sets it")
        if isinstance(value, dict | list):
            raise InvalidValue(param=param, reason="expected a string, number, boolean or null")


def _check_messages(messages: Sequence[Message]) -> None:
    brackets = 0
    calls: set[str] = set()
    for position, message in enumerate(messages):
        if isinstance(message, AssistantMessage):
            brackets = _check_assistant(message, f"messages[{position}]", brackets)
            calls.update(call.id for call in message.tool_calls or ())
        elif isinstance(message, ToolMessage) and message.tool_call_id not in calls:
            raise InvalidValue(
                param=f"messages[{position}].tool_call_id", reason="no tool call before it has this id"
            )


def _check_assistant(message: AssistantMessage, path: str, brackets: int) -> int:
    """The brackets in arguments so far, those of earlier messages included."""
    if message.content is None and message.tool_calls is None and message.refusal is None:
        raise MissingRequiredParameter(param=f"{path}.content")
    for position, call in enumerate(message.tool_calls or ()):
        param = f"{path}.tool_calls[{position}].function.arguments"
        arguments = call.function.arguments
        brackets += arguments.count("[") + arguments.count("{")
        if brackets > MAX_ARGUMENT_BRACKETS:
            raise InvalidValue(
                param=param, reason=f"there are more than {MAX_ARGUMENT_BRACKETS} brackets up to here"
            )
        _check_arguments(arguments, param)
    return brackets


def _check_arguments(arguments: str, param: str) -> None:
    """Templates are given them parsed; those that are no JSON become an empty object at the engine."""
    try:
        check_shape(arguments.encode())
    except ApiError:
        raise InvalidValue(param=param, reason=f"it is nested deeper than {MAX_DEPTH} levels") from None
    if not SUSPECT.search(arguments):
        return
    try:
        json.dumps(json.loads(arguments), ensure_ascii=False).encode()
    except json.JSONDecodeError:
        return
    except UnicodeEncodeError:
        raise InvalidValue(param=param, reason="a string in it holds half of a surrogate pair") from None
    except ValueError:
        raise InvalidValue(param=param, reason="a number in it is too long") from None
