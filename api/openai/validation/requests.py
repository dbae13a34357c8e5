"""Validation of request bodies: from parsed JSON to an ``EngineRequest``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from pydantic import ValidationError

from api.openai.errors.base import ApiError
from api.openai.errors.parameters import InvalidJson
from api.openai.schemas.chat import ChatRequest
from api.openai.schemas.completions import CompletionRequest
from api.openai.schemas.embeddings import EmbeddingRequest
from api.openai.schemas.policies import Wire, engine_fields, names_without_effect
from api.openai.schemas.sampling import Sampling
from api.openai.schemas.tokenize import MAX_CHARACTERS, DetokenizeRequest, TokenizeRequest
from api.openai.validation.deprecated_functions import convert_messages, functions_error, with_tools
from api.openai.validation.engine_request import EngineRequest
from api.openai.validation.prompt_bound import most_prompt_tokens
from api.openai.validation.rules import check_chat, check_completion, check_tokenize
from api.openai.validation.sizes import check_characters, check_sizes
from api.openai.validation.validation_errors import first_validation_error
from inference_worker.protocol.operations import template_variables

T = TypeVar("T", bound=Wire)
BodyValidator = Callable[[Any], EngineRequest]


def validate_chat_body(body: Any) -> EngineRequest:
    """Validate a chat completion request. Raises ApiError for the first fault."""
    request = parse_request(ChatRequest, body)
    tool_request = with_tools(request)
    try:
        check_chat(tool_request)
    except ApiError as error:
        raise functions_error(error) if request.functions else error from None
    fields = engine_fields(tool_request)
    for name in ("functions", "function_call"):
        fields.pop(name, None)
    _complete_messages(fields["messages"])
    _remove_idle_fields(fields)
    return EngineRequest(
        request.model,
        request.is_streamed,
        request.completion_limit,
        request.choices,
        fields,
        is_detached=_is_detached(request),
        has_functions=bool(request.functions),
        names_without_effect=names_without_effect(request),
        service_tier=request.service_tier,
        most_prompt_tokens=most_prompt_tokens(fields),
    )


def validate_completion_body(body: Any) -> EngineRequest:
    """Validate a completion request. Raises ApiError for the first fault."""
    request = parse_request(CompletionRequest, body)
    check_completion(request)
    fields = engine_fields(request)
    _remove_idle_fields(fields)
    return EngineRequest(
        request.model,
        request.is_streamed,
        request.completion_limit,
        request.choices,
        fields,
        is_detached=_is_detached(request),
        names_without_effect=names_without_effect(request),
        requested_completion_tokens=request.max_tokens,
        token_prompt_lengths=request.token_prompt_lengths,
        most_prompt_tokens=sum(request.token_prompt_lengths) or most_prompt_tokens(fields),
    )


def validate_embedding_body(body: Any) -> EngineRequest:
    """Validate an embeddings request. Raises ApiError for the first fault."""
    request = parse_request(EmbeddingRequest, body)
    lengths = request.token_prompt_lengths
    fields = engine_fields(request)
    return EngineRequest.without_generation(
        request.model,
        fields,
        choices=request.inputs,
        token_prompt_lengths=lengths,
        most_prompt_tokens=sum(lengths) or most_prompt_tokens(fields),
    )


def validate_tokenize_body(body: Any) -> EngineRequest:
    """Validate a tokenize request. Raises ApiError for the first fault."""
    request = parse_request(TokenizeRequest, body)
    check_tokenize(request)
    fields = engine_fields(request)
    for name in ("messages", "tools"):
        check_characters(fields, name, MAX_CHARACTERS)
    _complete_messages(fields.get("messages", []))
    _remove_idle_fields(fields)
    names = names_without_effect(request)
    return EngineRequest.without_generation(
        request.model, fields, uses_prefix_cache=False, names_without_effect=names
    )


def tokenize_request(chat: EngineRequest) -> EngineRequest:
    """Return the request that tokenizes the prompt of a chat request. Raises ApiError if it is too long."""
    fields = {name: chat.fields[name] for name in ("messages", "tools") if name in chat.fields}
    for name in fields:
        check_characters(fields, name, MAX_CHARACTERS)
    if variables := template_variables(chat.fields):
        fields["chat_template_kwargs"] = variables
    return EngineRequest.without_generation(chat.model, fields, uses_prefix_cache=False)


def validate_detokenize_body(body: Any) -> EngineRequest:
    """Validate a detokenize request. Raises ApiError for the first fault."""
    request = parse_request(DetokenizeRequest, body)
    return EngineRequest.without_generation(request.model, engine_fields(request), uses_prefix_cache=False)


def parse_request(schema: type[T], body: Any, *, conversation: str = "messages") -> T:
    """Return the body as a validated schema. Raises ApiError for the first fault.

    ``conversation``: the parameter that contains the messages.
    """
    if not isinstance(body, dict):
        raise InvalidJson(reason="expected an object at the top level")
    check_sizes(body, conversation=conversation)
    try:
        return schema.model_validate(body)
    except ValidationError as error:
        raise first_validation_error(error) from None


def _is_detached(request: Sampling) -> bool:
    options = request.stream_options
    return options is not None and options.on_disconnect == "continue"


def _complete_messages(messages: list[dict[str, Any]]) -> None:
    """Translate deprecated forms, and give a text to assistants that said nothing: templates expect one."""
    convert_messages(messages)
    for message in messages:
        if message["role"] == "assistant" and "tool_calls" not in message and "refusal" not in message:
            message["content"] = message.get("content") or ""


def _remove_idle_fields(fields: dict[str, Any]) -> None:
    """Remove parameters that ask for nothing in this request, some of which engines refuse."""
    if not fields.get("tools"):
        for name in ("tools", "tool_choice", "parallel_tool_calls"):
            fields.pop(name, None)
    if not (fields.get("stream") and fields.get("stream_options")):
        fields.pop("stream_options", None)
    if fields.get("stop") == []:
        del fields["stop"]
    if not fields.get("logprobs"):
        fields.pop("top_logprobs", None)
