"""Routes of the operations that an engine performs: completions, embeddings, tokens."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from pydantic import BaseModel

from api.gateway.document import error_groups
from api.gateway.http.url_table import Route, RouteDoc
from api.openai.schemas.chat import ChatRequest
from api.openai.schemas.completions import CompletionRequest
from api.openai.schemas.embeddings import EmbeddingRequest
from api.openai.schemas.response_bodies.chat import ChatCompletion, ChatCompletionChunk
from api.openai.schemas.response_bodies.completions import Completion
from api.openai.schemas.response_bodies.resources import Detokenized, EmbeddingList, Tokenized
from api.openai.schemas.tokenize import DetokenizeRequest, TokenizeRequest
from api.openai.validation.requests import (
    BodyValidator,
    validate_chat_body,
    validate_completion_body,
    validate_detokenize_body,
    validate_embedding_body,
    validate_tokenize_body,
)
from inference_worker.protocol.messages import Operation
from tenants.choices import Scope

RUN_MODELS = (Scope.INFERENCE.value,)


def _engine_route(
    path: str,
    operation: Operation,
    validate: BodyValidator,
    schema: type[BaseModel],
    doc: RouteDoc,
) -> Route:
    return Route(
        "POST",
        path,
        lambda endpoints: partial(endpoints.engine.serve, operation=operation, validate=validate),
        doc,
        RUN_MODELS,
        schema,
    )


def engine_call_routes() -> Iterator[Route]:
    """Return the routes of completions and embeddings."""
    yield _engine_route(
        "/v1/chat/completions",
        Operation.CHAT_COMPLETIONS,
        validate_chat_body,
        ChatRequest,
        RouteDoc(
            "Create a chat completion.",
            ChatCompletion,
            ChatCompletionChunk,
            errors=error_groups.ENGINE | error_groups.DETACHED,
        ),
    )
    yield _engine_route(
        "/v1/completions",
        Operation.COMPLETIONS,
        validate_completion_body,
        CompletionRequest,
        RouteDoc(
            "Create a completion of a text.",
            Completion,
            Completion,
            errors=error_groups.ENGINE | error_groups.DETACHED,
        ),
    )
    yield _engine_route(
        "/v1/embeddings",
        Operation.EMBEDDINGS,
        validate_embedding_body,
        EmbeddingRequest,
        RouteDoc(
            "Create embeddings.",
            EmbeddingList,
            errors=error_groups.ENGINE,
        ),
    )


def tokenizer_routes() -> Iterator[Route]:
    """Return the routes of the tokenizer, with and without the version prefix."""
    for prefix in ("", "/v1"):
        yield _engine_route(
            f"{prefix}/tokenize",
            Operation.TOKENIZE,
            validate_tokenize_body,
            TokenizeRequest,
            RouteDoc(
                "Convert a text or a conversation to token ids.",
                Tokenized,
                errors=error_groups.ENGINE,
            ),
        )
    for prefix in ("", "/v1"):
        yield _engine_route(
            f"{prefix}/detokenize",
            Operation.DETOKENIZE,
            validate_detokenize_body,
            DetokenizeRequest,
            RouteDoc("Convert token ids to text.", Detokenized, errors=error_groups.ENGINE),
        )
