"""The gateway as an ASGI application: routes, errors, and the record at the end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from api.gateway.admit import INFERENCE, MODELS_READ, require_scope
from api.gateway.answer import Answer
from api.gateway.asgi import ClientGone, Receive, Scope, Send
from api.gateway.exchange import Exchange, begin
from api.gateway.generate import Generation
from api.gateway.health import LIVE, Health
from api.gateway.identify import identify
from api.gateway.models import model_detail, model_list
from api.openai.errors import ApiError, shown
from api.openai.requests import check_chat_body, check_completion_body
from inference_worker.protocol.messages import Operation
from inference_worker.telemetry.correlation import correlation_id
from inference_worker.telemetry.lines import trace_without_texts

logger = logging.getLogger("cyllm.gateway")

CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"
MODELS = "/v1/models"
MODEL = "/v1/models/{id}"
ERROR_WRITE_TIMEOUT_S = 5.0  # for clients that have stopped reading
LIVE_PATH = "/health/live"
READY_PATH = "/health/ready"


@dataclass(frozen=True, slots=True)
class Gateway:
    """Answers ``/v1/*`` and ``/health/*``. One per process."""

    generation: Generation
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
            await self._conclude(exchange, receive, answer)
        finally:
            self.generation.ledger.ended(exchange)

    async def _conclude(self, exchange: Exchange, receive: Receive, answer: Answer) -> None:
        """Whatever happens, the exchange knows how it ended and the client is told, if it still listens."""
        try:
            await self._handle(exchange, receive, answer)
            exchange.completed()
        except ClientGone:
            exchange.failed(ApiError("client_disconnected"))
        except ApiError as error:
            await self._refuse(exchange, answer, error)
        except asyncio.CancelledError:
            exchange.failed(ApiError("gateway_stopping"))
            raise
        except Exception as error:
            # Its text can quote the request.
            logger.error("request failed", extra={"trace": trace_without_texts(error)})
            await self._refuse(exchange, answer, ApiError("internal_error"))

    async def _refuse(self, exchange: Exchange, answer: Answer, error: ApiError) -> None:
        exchange.failed(error)
        try:
            async with asyncio.timeout(ERROR_WRITE_TIMEOUT_S):
                await answer.error(error)
        except (ClientGone, TimeoutError):
            logger.debug("the client did not take its error")

    async def _handle(self, exchange: Exchange, receive: Receive, answer: Answer) -> None:
        route = route_of(exchange.path)
        if route is None:
            raise ApiError("unknown_url", method=shown(exchange.method), path=shown(exchange.path))
        exchange.endpoint = route
        method, handler = ROUTES[route]
        if exchange.method != method:
            raise ApiError(
                "method_not_allowed",
                method=shown(exchange.method),
                path=shown(exchange.path),
                allowed=method,
                headers={"allow": method},
            )
        await handler(self, exchange, receive, answer)

    async def _chat(self, exchange: Exchange, receive: Receive, answer: Answer) -> None:
        await self.generation.serve(exchange, receive, answer, Operation.CHAT_COMPLETIONS, check_chat_body)

    async def _completions(self, exchange: Exchange, receive: Receive, answer: Answer) -> None:
        await self.generation.serve(exchange, receive, answer, Operation.COMPLETIONS, check_completion_body)

    async def _models(self, exchange: Exchange, _: Receive, answer: Answer) -> None:
        tenant_id = await self._reader(exchange)
        catalogue = await self.generation.catalogue()
        await answer.json(model_list(catalogue, tenant_id, self.generation.client.workers()))

    async def _model(self, exchange: Exchange, _: Receive, answer: Answer) -> None:
        tenant_id = await self._reader(exchange)
        name = exchange.path.removeprefix(MODELS + "/")
        catalogue = await self.generation.catalogue()
        await answer.json(model_detail(catalogue, name, tenant_id, self.generation.client.workers()))

    async def _reader(self, exchange: Exchange) -> str:
        principal = await identify(exchange, self.generation.find_principal)
        require_scope(principal, MODELS_READ, INFERENCE)
        return str(principal.tenant_id)

    async def _live(self, _: Exchange, __: Receive, answer: Answer) -> None:
        await answer.json(LIVE)

    async def _ready(self, _: Exchange, __: Receive, answer: Answer) -> None:
        report = await self.health.ready()
        headers = {} if report.ready else {"retry-after": "1"}
        await answer.json(report.body, 200 if report.ready else 503, headers)


Handler = Callable[[Gateway, Exchange, Receive, Answer], Awaitable[None]]

ROUTES: Mapping[str, tuple[str, Handler]] = {
    CHAT: ("POST", Gateway._chat),
    COMPLETIONS: ("POST", Gateway._completions),
    MODELS: ("GET", Gateway._models),
    MODEL: ("GET", Gateway._model),
    LIVE_PATH: ("GET", Gateway._live),
    READY_PATH: ("GET", Gateway._ready),
}


def route_of(path: str) -> str | None:
    """The route of a path; model ids may contain slashes."""
    if path in ROUTES and path != MODEL:
        return path
    return MODEL if path.startswith(MODELS + "/") and len(path) > len(MODELS) + 1 else None
