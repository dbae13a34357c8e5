"""The gateway as an ASGI application: routes, errors, and the record at the end."""

from __future__ import annotations

import asyncio
import json
import logging
from dataclasses import dataclass
from functools import cache

from api.gateway.document.openapi import openapi_document
from api.gateway.endpoints.generate import Generation
from api.gateway.endpoints.health import LIVE, Health
from api.gateway.endpoints.models import model_detail, model_list
from api.gateway.endpoints.responses import Responses
from api.gateway.endpoints.stored_responses import PAGING, RETRIEVING, StoredResponseEndpoints
from api.gateway.endpoints.streams import Streams
from api.gateway.http.answer import Answer
from api.gateway.http.disconnect import Disconnected, Receive, Scope, Send
from api.gateway.http.exchange import Exchange, begin
from api.gateway.http.url_table import Handler, Route, RouteTable
from api.gateway.stages.authorize import INFERENCE, MODELS_READ, authorize
from api.gateway.streams.log_readers import STARTING_AFTER
from api.openai.errors.access import ClientDisconnected, MethodNotAllowed, UnknownUrl
from api.openai.errors.base import ApiError, printable
from api.openai.errors.service import GatewayStopping, InternalError
from api.openai.responses.schema import ResponseRequest
from api.openai.schemas.chat import ChatRequest
from api.openai.schemas.completions import CompletionRequest
from api.openai.schemas.embeddings import EmbeddingRequest
from api.openai.schemas.tokenize import DetokenizeRequest, TokenizeRequest
from api.openai.validation.requests import (
    BodyCheck,
    check_chat_body,
    check_completion_body,
    check_detokenize_body,
    check_embedding_body,
    check_tokenize_body,
)
from inference_worker.protocol.messages import Operation
from inference_worker.telemetry.correlation import correlation_id
from inference_worker.telemetry.lines import trace_without_texts

logger = logging.getLogger("cyllm.gateway")

ERROR_WRITE_TIMEOUT_S = 5.0  # for clients that have stopped reading


@dataclass(frozen=True, slots=True)
class Gateway:
    """Answers ``/v1/*`` and ``/health/*``. One per process."""

    generation: Generation
    streams: Streams
    responses: Responses
    kept_responses: StoredResponseEndpoints
    health: Health

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one HTTP request."""
        exchange = begin(scope, self.generation.limits.trusted_proxies)
        correlation_id.set(exchange.correlation_id)
        answer = Answer(send, exchange)
        if exchange.path.startswith("/health/"):
            await self._conclude(exchange, receive, answer)
            return
        try:
            with exchange.held:
                await self._conclude(exchange, receive, answer)
        finally:
            if not exchange.is_handed_over:
                self.generation.recorder.ended(exchange)

    async def _conclude(self, exchange: Exchange, receive: Receive, answer: Answer) -> None:
        """Whatever happens, the exchange knows how it ended and the client is told, if it still listens."""
        try:
            await self._handle(exchange, receive, answer)
            exchange.completed()
        except Disconnected:
            exchange.failed(ClientDisconnected())
        except ApiError as error:
            await self._refuse(exchange, answer, error)
        except asyncio.CancelledError:
            await self._refuse(exchange, answer, GatewayStopping())
            raise
        except Exception as error:
            # Its text can quote the request.
            logger.error("request failed", extra={"trace": trace_without_texts(error)})
            await self._refuse(exchange, answer, InternalError())

    async def _refuse(self, exchange: Exchange, answer: Answer, error: ApiError) -> None:
        exchange.failed(error)
        try:
            async with asyncio.timeout(ERROR_WRITE_TIMEOUT_S):
                await answer.error(error)
        except (Disconnected, TimeoutError):
            logger.debug("the client did not take its error")

    async def _handle(self, exchange: Exchange, receive: Receive, answer: Answer) -> None:
        resource = ROUTES.find(exchange.path)
        if resource is not None:
            exchange.endpoint, exchange.values = resource.endpoint, resource.values
        if exchange.refused is not None:
            raise exchange.refused
        if resource is None:
            raise UnknownUrl(method=printable(exchange.method), path=printable(exchange.path))
        route = resource.route(exchange.method)
        if route is not None:
            exchange.route = route
            await route.handler(self, exchange, receive, answer)
        elif exchange.method == "OPTIONS":
            await answer.nothing({"allow": resource.allowed})
        else:
            raise MethodNotAllowed(
                method=printable(exchange.method),
                path=printable(exchange.path),
                allowed=resource.allowed,
                headers={"allow": resource.allowed},
            )

    async def _models(self, exchange: Exchange, _: Receive, answer: Answer) -> None:
        principal = await authorize(exchange, self.generation.find_principal)
        catalogue = await self.generation.catalogue()
        workers = self.generation.client.workers()
        await answer.json(model_list(catalogue, str(principal.tenant_id), workers))

    async def _model(self, exchange: Exchange, _: Receive, answer: Answer) -> None:
        principal = await authorize(exchange, self.generation.find_principal)
        catalogue = await self.generation.catalogue()
        workers = self.generation.client.workers()
        name = exchange.values["model"]
        await answer.json(model_detail(catalogue, name, str(principal.tenant_id), workers))

    async def _document(self, _: Exchange, __: Receive, answer: Answer) -> None:
        await answer.json(_document_bytes())

    async def _response(self, exchange: Exchange, receive: Receive, answer: Answer) -> None:
        await self.responses.create(exchange, receive, answer)

    async def _kept_response(self, exchange: Exchange, receive: Receive, answer: Answer) -> None:
        await self.kept_responses.retrieve(exchange, receive, answer)

    async def _response_delete(self, exchange: Exchange, _: Receive, answer: Answer) -> None:
        await self.kept_responses.delete(exchange, answer)

    async def _response_cancel(self, exchange: Exchange, _: Receive, answer: Answer) -> None:
        await self.kept_responses.cancel(exchange, answer)

    async def _response_input(self, exchange: Exchange, _: Receive, answer: Answer) -> None:
        await self.kept_responses.input_items(exchange, answer)

    async def _stream(self, exchange: Exchange, receive: Receive, answer: Answer) -> None:
        await self.streams.follow(exchange, receive, answer)

    async def _stream_cancel(self, exchange: Exchange, _: Receive, answer: Answer) -> None:
        await self.streams.cancel(exchange, answer)

    async def _stream_delete(self, exchange: Exchange, _: Receive, answer: Answer) -> None:
        await self.streams.delete(exchange, answer)

    async def _live(self, _: Exchange, __: Receive, answer: Answer) -> None:
        await answer.json(LIVE)

    async def _ready(self, _: Exchange, __: Receive, answer: Answer) -> None:
        report = await self.health.ready()
        headers = {} if report.ready else {"retry-after": "1"}
        await answer.json(report.body, 200 if report.ready else 503, headers)


def _engine(operation: Operation, check: BodyCheck) -> Handler:
    """The handler of what one call of an engine answers."""

    async def handle(gateway: Gateway, exchange: Exchange, receive: Receive, answer: Answer) -> None:
        await gateway.generation.serve(exchange, receive, answer, operation, check)

    return handle


_chat = _engine(Operation.CHAT_COMPLETIONS, check_chat_body)
_completions = _engine(Operation.COMPLETIONS, check_completion_body)
_embeddings = _engine(Operation.EMBEDDINGS, check_embedding_body)
_tokenize = _engine(Operation.TOKENIZE, check_tokenize_body)
_detokenize = _engine(Operation.DETOKENIZE, check_detokenize_body)

_GENERATE = (INFERENCE,)
_READ_MODELS = (MODELS_READ, INFERENCE)

ROUTES = RouteTable(
    (
        Route("POST", "/v1/chat/completions", _chat, _GENERATE, ChatRequest),
        Route("POST", "/v1/completions", _completions, _GENERATE, CompletionRequest),
        Route("POST", "/v1/embeddings", _embeddings, _GENERATE, EmbeddingRequest),
        Route("POST", "/tokenize", _tokenize, _GENERATE, TokenizeRequest),
        Route("POST", "/v1/tokenize", _tokenize, _GENERATE, TokenizeRequest),
        Route("POST", "/detokenize", _detokenize, _GENERATE, DetokenizeRequest),
        Route("POST", "/v1/detokenize", _detokenize, _GENERATE, DetokenizeRequest),
        Route("GET", "/v1/models", Gateway._models, _READ_MODELS),
        Route("GET", "/v1/models/{model:path}", Gateway._model, _READ_MODELS),
        Route("POST", "/v1/responses", Gateway._response, _GENERATE, ResponseRequest),
        Route("GET", "/v1/responses/{id}", Gateway._kept_response, _GENERATE, query=RETRIEVING),
        Route("DELETE", "/v1/responses/{id}", Gateway._response_delete, _GENERATE, query=()),
        Route("POST", "/v1/responses/{id}/cancel", Gateway._response_cancel, _GENERATE, query=()),
        Route("GET", "/v1/responses/{id}/input_items", Gateway._response_input, _GENERATE, query=PAGING),
        Route("GET", "/v1/streams/{id}", Gateway._stream, _GENERATE, query=(STARTING_AFTER,)),
        Route("DELETE", "/v1/streams/{id}", Gateway._stream_delete, _GENERATE, query=()),
        Route("POST", "/v1/streams/{id}/cancel", Gateway._stream_cancel, _GENERATE, query=()),
        Route("GET", "/health/live", Gateway._live),
        Route("GET", "/health/ready", Gateway._ready),
        Route("GET", "/openapi.json", Gateway._document),
    )
)


@cache
def _document_bytes() -> bytes:
    return json.dumps(openapi_document(ROUTES.routes)).encode()
