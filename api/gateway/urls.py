"""The URL map: every route of the API with its endpoint, scopes, schema and documentation."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, partial

from pydantic import BaseModel

from api.gateway.document import error_groups
from api.gateway.document.openapi import openapi_document
from api.gateway.endpoints.generate import Generation
from api.gateway.endpoints.health import HealthEndpoints
from api.gateway.endpoints.models import ModelEndpoints
from api.gateway.endpoints.responses import Responses
from api.gateway.endpoints.stored_responses import (
    PAGE_QUERY,
    RETRIEVE_QUERY,
    StoredResponseEndpoints,
)
from api.gateway.endpoints.streams import StreamEndpoints
from api.gateway.http.answer import Answer
from api.gateway.http.disconnect import Receive
from api.gateway.http.exchange import Exchange
from api.gateway.http.url_table import Route, RouteDoc, UrlTable
from api.gateway.stages.authorize import INFERENCE, MODELS_READ
from api.gateway.streams.log_readers import STARTING_AFTER_QUERY
from api.openai.errors.parameters import ModelNotFound
from api.openai.errors.resources import PreviousResponseNotFound, ResponseNotCancellable
from api.openai.responses.schemas.events import ResponseEvent, StreamData
from api.openai.responses.schemas.parameters import UNSUPPORTED_RESPONSES
from api.openai.responses.schemas.request import ResponseRequest
from api.openai.responses.schemas.response_object import InputItemList, Response, ResponseDeleted
from api.openai.schemas.chat import ChatRequest
from api.openai.schemas.completions import CompletionRequest
from api.openai.schemas.embeddings import EmbeddingRequest
from api.openai.schemas.parameters import (
    UNSUPPORTED_CHAT,
    UNSUPPORTED_COMPLETIONS,
    UNSUPPORTED_EMBEDDINGS,
    UNSUPPORTED_TOKENIZE,
)
from api.openai.schemas.response_bodies.chat import ChatCompletion, ChatCompletionChunk
from api.openai.schemas.response_bodies.completions import Completion
from api.openai.schemas.response_bodies.health import LiveReport, ReadyReport
from api.openai.schemas.response_bodies.resources import (
    Detokenized,
    EmbeddingList,
    Model,
    ModelList,
    StreamDeleted,
    StreamState,
    Tokenized,
)
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


@dataclass(frozen=True, slots=True)
class Endpoints:
    """The endpoints of a gateway process."""

    generation: Generation
    responses: Responses
    stored_responses: StoredResponseEndpoints
    streams: StreamEndpoints
    models: ModelEndpoints
    health: HealthEndpoints


GENERATE = (INFERENCE,)
READ_MODELS = (MODELS_READ, INFERENCE)


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
        lambda endpoints: partial(endpoints.generation.serve, operation=operation, validate=validate),
        doc,
        GENERATE,
        schema,
    )


def _generation_routes() -> Iterator[Route]:
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
            refused_parameters=UNSUPPORTED_CHAT,
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
            refused_parameters=UNSUPPORTED_COMPLETIONS,
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
            refused_parameters=UNSUPPORTED_EMBEDDINGS,
        ),
    )


def _tokenizer_routes() -> Iterator[Route]:
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
                refused_parameters=UNSUPPORTED_TOKENIZE,
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


def _model_routes() -> Iterator[Route]:
    yield Route(
        "GET",
        "/v1/models",
        lambda endpoints: endpoints.models.list,
        RouteDoc("List the models that are available to this key.", ModelList),
        READ_MODELS,
    )
    yield Route(
        "GET",
        "/v1/models/{model:path}",
        lambda endpoints: endpoints.models.retrieve,
        RouteDoc("Retrieve a model by its name or an alias.", Model, errors=frozenset({ModelNotFound})),
        READ_MODELS,
    )


def _response_routes() -> Iterator[Route]:
    yield Route(
        "POST",
        "/v1/responses",
        lambda endpoints: endpoints.responses.create,
        RouteDoc(
            "Create a response; it may continue a conversation or run in the background.",
            Response,
            ResponseEvent,
            errors=error_groups.ENGINE | error_groups.DETACHED | {PreviousResponseNotFound},
            refused_parameters=UNSUPPORTED_RESPONSES,
        ),
        GENERATE,
        ResponseRequest,
    )


def _stored_response_routes() -> Iterator[Route]:
    yield Route(
        "GET",
        "/v1/responses/{id}",
        lambda endpoints: endpoints.stored_responses.retrieve,
        RouteDoc(
            "Retrieve a stored response, or replay its events.",
            Response,
            ResponseEvent,
            errors=error_groups.STORED_RESPONSE | error_groups.LOG_READING,
        ),
        GENERATE,
        query=RETRIEVE_QUERY,
    )
    yield Route(
        "DELETE",
        "/v1/responses/{id}",
        lambda endpoints: endpoints.stored_responses.delete,
        RouteDoc(
            "Delete a stored response, and cancel it if it is in progress.",
            ResponseDeleted,
            errors=error_groups.STORED_RESPONSE,
        ),
        GENERATE,
        query={},
    )


def _response_part_routes() -> Iterator[Route]:
    yield Route(
        "POST",
        "/v1/responses/{id}/cancel",
        lambda endpoints: endpoints.stored_responses.cancel,
        RouteDoc(
            "Cancel a background response.",
            Response,
            errors=error_groups.STORED_RESPONSE | {ResponseNotCancellable},
        ),
        GENERATE,
        query={},
    )
    yield Route(
        "GET",
        "/v1/responses/{id}/input_items",
        lambda endpoints: endpoints.stored_responses.input_items,
        RouteDoc(
            "List the input items of a stored response.", InputItemList, errors=error_groups.STORED_RESPONSE
        ),
        GENERATE,
        query=PAGE_QUERY,
    )


def _stream_routes() -> Iterator[Route]:
    yield Route(
        "GET",
        "/v1/streams/{id}",
        lambda endpoints: endpoints.streams.resume,
        RouteDoc(
            "Resume a stream from any of its events.",
            event=StreamData,
            errors=error_groups.STREAM | error_groups.LOG_READING,
        ),
        GENERATE,
        query=STARTING_AFTER_QUERY,
    )
    yield Route(
        "DELETE",
        "/v1/streams/{id}",
        lambda endpoints: endpoints.streams.delete,
        RouteDoc("Cancel and delete a resumable stream.", StreamDeleted, errors=error_groups.STREAM),
        GENERATE,
        query={},
    )
    yield Route(
        "POST",
        "/v1/streams/{id}/cancel",
        lambda endpoints: endpoints.streams.cancel,
        RouteDoc(
            "Cancel a resumable stream, whichever gateway runs it.", StreamState, errors=error_groups.STREAM
        ),
        GENERATE,
        query={},
    )


def _public_routes() -> Iterator[Route]:
    yield Route(
        "GET",
        "/health/live",
        lambda endpoints: endpoints.health.live,
        RouteDoc("Report whether the process responds.", LiveReport),
    )
    yield Route(
        "GET",
        "/health/ready",
        lambda endpoints: endpoints.health.ready,
        RouteDoc("Report whether requests can be served.", ReadyReport, not_ready=ReadyReport),
    )
    yield Route("GET", "/openapi.json", lambda _: _serve_document, RouteDoc("Return this document."))


async def _serve_document(_: Exchange, __: Receive, answer: Answer) -> None:
    await answer.json(_document_bytes())


@cache
def _document_bytes() -> bytes:
    return json.dumps(openapi_document(URLS.routes)).encode()


URLS = UrlTable(
    (
        *_generation_routes(),
        *_tokenizer_routes(),
        *_model_routes(),
        *_response_routes(),
        *_stored_response_routes(),
        *_response_part_routes(),
        *_stream_routes(),
        *_public_routes(),
    )
)
