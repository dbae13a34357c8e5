"""Validation of request bodies: from parsed JSON to an ``EngineRequest``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from pydantic import ValidationError

from api.openai.errors.parameters import InvalidJson
from api.openai.schemas.chat import ChatRequest
from api.openai.schemas.completions import CompletionRequest
from api.openai.schemas.embeddings import EmbeddingRequest
from api.openai.schemas.fields import Wire
from api.openai.schemas.parameters import (
    MESSAGE_WITHOUT_EFFECT,
    STREAM_OPTIONS_WITHOUT_EFFECT,
    UNSUPPORTED_CHAT,
    UNSUPPORTED_COMPLETIONS,
    UNSUPPORTED_EMBEDDINGS,
    UNSUPPORTED_MESSAGE,
    UNSUPPORTED_TOKENIZE,
)
from api.openai.schemas.tokenize import MAX_CHARACTERS, DetokenizeRequest, TokenizeRequest
from api.openai.validation.engine_request import EngineRequest
from api.openai.validation.rules import check_chat, check_completion, check_tokenize
from api.openai.validation.sizes import check_characters, check_sizes
from api.openai.validation.validation_errors import first_validation_error

T = TypeVar("T", bound=Wire)
BodyValidator = Callable[[Any], EngineRequest]

_NULLABLE_CHAT = frozenset(ChatRequest.model_fields) | frozenset(UNSUPPORTED_CHAT)
_NULLABLE_COMPLETION = frozenset(CompletionRequest.model_fields) | frozenset(UNSUPPORTED_COMPLETIONS)
_NULLABLE_EMBEDDING = frozenset(EmbeddingRequest.model_fields) | frozenset(UNSUPPORTED_EMBEDDINGS)
_NULLABLE_TOKENIZE = frozenset(TokenizeRequest.model_fields) | frozenset(UNSUPPORTED_TOKENIZE)
_NULLABLE_DETOKENIZE = frozenset(DetokenizeRequest.model_fields)
# Without "content": chat templates distinguish a null content of an assistant's message from a missing one.
_NULLABLE_IN_MESSAGE = frozenset(
    {"name", "refusal", "tool_calls", "reasoning", "reasoning_content", "annotations", *UNSUPPORTED_MESSAGE}
)


def validate_chat_body(body: Any) -> EngineRequest:
    """Validate a chat completion request. Raises ApiError for the first fault."""
    fields = _without_nulls(body, _NULLABLE_CHAT)
    _remove_message_nulls(fields)
    request = _parse(ChatRequest, fields, UNSUPPORTED_CHAT)
    check_chat(request)
    return EngineRequest(
        request.model,
        request.is_streamed,
        request.completion_limit,
        request.choices,
        _without_ineffective_fields(fields),
    )


def validate_completion_body(body: Any) -> EngineRequest:
    """Validate a completion request. Raises ApiError for the first fault."""
    fields = _without_nulls(body, _NULLABLE_COMPLETION)
    request = _parse(CompletionRequest, fields, UNSUPPORTED_COMPLETIONS)
    check_completion(request)
    return EngineRequest(
        request.model,
        request.is_streamed,
        request.completion_limit,
        request.choices,
        _without_ineffective_fields(fields),
        requested_completion_tokens=request.max_tokens,
        token_prompt_lengths=request.token_prompt_lengths,
    )


def validate_embedding_body(body: Any) -> EngineRequest:
    """Validate an embeddings request. Raises ApiError for the first fault."""
    fields = _without_nulls(body, _NULLABLE_EMBEDDING)
    request = _parse(EmbeddingRequest, fields, UNSUPPORTED_EMBEDDINGS)
    lengths = request.token_prompt_lengths
    return EngineRequest(request.model, False, 0, request.inputs, fields, token_prompt_lengths=lengths)


def validate_tokenize_body(body: Any) -> EngineRequest:
    """Validate a tokenize request. Raises ApiError for the first fault."""
    fields = _without_nulls(body, _NULLABLE_TOKENIZE)
    _remove_message_nulls(fields)
    request = _parse(TokenizeRequest, fields, UNSUPPORTED_TOKENIZE)
    check_tokenize(request)
    for name in ("messages", "tools"):
        check_characters(fields, name, MAX_CHARACTERS)
    return EngineRequest(
        request.model, False, 0, 1, _without_ineffective_fields(fields), uses_prefix_cache=False
    )


def validate_detokenize_body(body: Any) -> EngineRequest:
    """Validate a detokenize request. Raises ApiError for the first fault."""
    fields = _without_nulls(body, _NULLABLE_DETOKENIZE)
    request = _parse(DetokenizeRequest, fields, {})
    return EngineRequest(request.model, False, 0, 1, fields, uses_prefix_cache=False)


def _parse(schema: type[T], fields: dict[str, Any], unsupported: Mapping[str, str]) -> T:
    try:
        return schema.model_validate(fields)
    except ValidationError as error:
        raise first_validation_error(error, unsupported) from None


def _without_nulls(body: Any, nullable: frozenset[str]) -> dict[str, Any]:
    """Return the body without null parameters: in the OpenAI API, null stands for the default."""
    if not isinstance(body, dict):
        raise InvalidJson(reason="expected an object at the top level")
    check_sizes(body)
    return {name: value for name, value in body.items() if value is not None or name not in nullable}


def _remove_message_nulls(fields: dict[str, Any]) -> None:
    if isinstance(fields.get("messages"), list):
        fields["messages"] = [_message_without_nulls(message) for message in fields["messages"]]


def _message_without_nulls(message: Any) -> Any:
    if not isinstance(message, dict) or None not in message.values():
        return message
    return {
        name: value
        for name, value in message.items()
        if value is not None or name not in _NULLABLE_IN_MESSAGE
    }


def _without_ineffective_fields(fields: dict[str, Any]) -> dict[str, Any]:
    """Remove the stream options and message fields that have no effect on the response."""
    if options := fields.get("stream_options"):
        fields["stream_options"] = {
            name: value for name, value in options.items() if name not in STREAM_OPTIONS_WITHOUT_EFFECT
        }
    for message in fields.get("messages", ()):
        for name in MESSAGE_WITHOUT_EFFECT:
            message.pop(name, None)
    return fields
