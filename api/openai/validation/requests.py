"""From a parsed body to a checked request."""

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
    REFUSED_CHAT,
    REFUSED_COMPLETIONS,
    REFUSED_EMBEDDINGS,
    REFUSED_MESSAGE,
    REFUSED_TOKENIZE,
    STREAM_OPTIONS_WITHOUT_EFFECT,
)
from api.openai.schemas.tokenize import MAX_CHARACTERS, DetokenizeRequest, TokenizeRequest
from api.openai.validation.engine_request import EngineRequest
from api.openai.validation.rules import check_chat, check_completion, check_tokenize
from api.openai.validation.sizes import check_characters, check_sizes
from api.openai.validation.validation_errors import first_validation_error

T = TypeVar("T", bound=Wire)

_NULLABLE_CHAT = frozenset(ChatRequest.model_fields) | frozenset(REFUSED_CHAT)
_NULLABLE_COMPLETION = frozenset(CompletionRequest.model_fields) | frozenset(REFUSED_COMPLETIONS)
_NULLABLE_EMBEDDING = frozenset(EmbeddingRequest.model_fields) | frozenset(REFUSED_EMBEDDINGS)
_NULLABLE_TOKENIZE = frozenset(TokenizeRequest.model_fields) | frozenset(REFUSED_TOKENIZE)
_NULLABLE_DETOKENIZE = frozenset(DetokenizeRequest.model_fields)
# A null content is kept: in an assistant's message templates tell it from an absent one.
_NULLABLE_IN_MESSAGE = frozenset(
    {"name", "refusal", "tool_calls", "reasoning", "reasoning_content", "annotations", *REFUSED_MESSAGE}
)


def check_chat_body(body: Any) -> EngineRequest:
    """Validate a chat completion request. Raises ApiError with the first fault."""
    fields = _without_nulls(body, _NULLABLE_CHAT)
    _clean_messages(fields)
    request = _validated(ChatRequest, fields, REFUSED_CHAT)
    check_chat(request)
    return EngineRequest(
        request.model, request.streamed, request.completion_limit, request.choices, _sent(fields)
    )


def check_completion_body(body: Any) -> EngineRequest:
    """Validate a completion request. Raises ApiError with the first fault."""
    fields = _without_nulls(body, _NULLABLE_COMPLETION)
    request = _validated(CompletionRequest, fields, REFUSED_COMPLETIONS)
    check_completion(request)
    return EngineRequest(
        request.model,
        request.streamed,
        request.completion_limit,
        request.choices,
        _sent(fields),
        asked_tokens=request.max_tokens,
        token_prompts=request.token_prompts,
    )


def check_embedding_body(body: Any) -> EngineRequest:
    """Validate an embeddings request. Raises ApiError with the first fault."""
    fields = _without_nulls(body, _NULLABLE_EMBEDDING)
    request = _validated(EmbeddingRequest, fields, REFUSED_EMBEDDINGS)
    lengths = request.token_prompts
    return EngineRequest(request.model, False, 0, request.inputs, fields, token_prompts=lengths)


def check_tokenize_body(body: Any) -> EngineRequest:
    """Validate a tokenize request. Raises ApiError with the first fault."""
    fields = _without_nulls(body, _NULLABLE_TOKENIZE)
    _clean_messages(fields)
    request = _validated(TokenizeRequest, fields, REFUSED_TOKENIZE)
    check_tokenize(request)
    for name in ("messages", "tools"):
        check_characters(fields, name, MAX_CHARACTERS)
    return EngineRequest(request.model, False, 0, 1, _sent(fields), salted=False)


def check_detokenize_body(body: Any) -> EngineRequest:
    """Validate a detokenize request. Raises ApiError with the first fault."""
    fields = _without_nulls(body, _NULLABLE_DETOKENIZE)
    request = _validated(DetokenizeRequest, fields, {})
    return EngineRequest(request.model, False, 0, 1, fields, salted=False)


BodyCheck = Callable[[Any], EngineRequest]


def _validated(schema: type[T], fields: dict[str, Any], refused: Mapping[str, str]) -> T:
    try:
        return schema.model_validate(fields)
    except ValidationError as error:
        raise first_validation_error(error, refused) from None


def _without_nulls(body: Any, nullable: frozenset[str]) -> dict[str, Any]:
    """Null stands for the default in the OpenAI API, for parameters that exist."""
    if not isinstance(body, dict):
        raise InvalidJson(reason="expected an object at the top")
    check_sizes(body)
    return {name: value for name, value in body.items() if value is not None or name not in nullable}


def _clean_messages(fields: dict[str, Any]) -> None:
    if isinstance(fields.get("messages"), list):
        fields["messages"] = [_cleaned_message(message) for message in fields["messages"]]


def _cleaned_message(message: Any) -> Any:
    if not isinstance(message, dict) or None not in message.values():
        return message
    return {
        name: value
        for name, value in message.items()
        if value is not None or name not in _NULLABLE_IN_MESSAGE
    }


def _sent(fields: dict[str, Any]) -> dict[str, Any]:
    """Without those parts of messages and options that have no effect on the answer."""
    if options := fields.get("stream_options"):
        fields["stream_options"] = {
            name: value for name, value in options.items() if name not in STREAM_OPTIONS_WITHOUT_EFFECT
        }
    for message in fields.get("messages", ()):
        for name in MESSAGE_WITHOUT_EFFECT:
            message.pop(name, None)
    return fields
