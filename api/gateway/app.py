"""The gateway as an ASGI application: calls endpoints, sends errors for exceptions, records every end."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

from api.gateway.http.answer import Answer
from api.gateway.http.disconnect import Disconnected, Receive, Scope, Send
from api.gateway.http.exchange import Exchange, begin_exchange
from api.gateway.http.url_table import Resource
from api.gateway.settings import Limits
from api.gateway.stages.capacity import Capacity
from api.gateway.stages.settle import RequestRecorder
from api.gateway.urls import URLS, Endpoints
from api.openai.errors.access import ClientDisconnected, MethodNotAllowed, UnknownUrl
from api.openai.errors.base import ApiError, printable
from api.openai.errors.service import GatewayStopping, InternalError
from inference_worker.telemetry.correlation import correlation_id
from inference_worker.telemetry.log_formatters import trace_without_messages

logger = logging.getLogger("cyllm.gateway")

HEALTH_PREFIX = "/health/"
ERROR_WRITE_TIMEOUT_S = 5.0  # for clients that have stopped reading


@dataclass(frozen=True, slots=True)
class Gateway:
    """Serves ``/v1/*`` and ``/health/*``. One per process."""

    endpoints: Endpoints
    limits: Limits
    capacity: Capacity
    recorder: RequestRecorder

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one HTTP request."""
        exchange = begin_exchange(scope, self.limits.trusted_proxies)
        correlation_id.set(exchange.correlation_id)
        answer = Answer(send, exchange)
        if exchange.path.startswith(HEALTH_PREFIX):
            await self._serve(exchange, receive, answer)
            return
        try:
            with exchange.resources:
                await self._serve(exchange, receive, answer)
        finally:
            if not exchange.is_handed_over:
                self.recorder.record_end(exchange)

    async def _serve(self, exchange: Exchange, receive: Receive, answer: Answer) -> None:
        """Call the endpoint. However it ends, set the outcome and complete the response."""
        try:
            await self._call_endpoint(exchange, receive, answer)
            exchange.complete()
        except Disconnected:
            exchange.fail(ClientDisconnected())
        except ApiError as error:
            await self._send_error(exchange, answer, error)
        except asyncio.CancelledError:
            await self._send_error(exchange, answer, GatewayStopping())
            raise
        except Exception as error:
            # The exception's text can quote the request.
            logger.error("request failed", extra={"trace": trace_without_messages(error)})
            await self._send_error(exchange, answer, InternalError())

    async def _send_error(self, exchange: Exchange, answer: Answer, error: ApiError) -> None:
        exchange.fail(error)
        try:
            async with asyncio.timeout(ERROR_WRITE_TIMEOUT_S):
                await answer.error(error)
        except (Disconnected, TimeoutError):
            logger.debug("the client did not receive its error")

    async def _call_endpoint(self, exchange: Exchange, receive: Receive, answer: Answer) -> None:
        resource = URLS.resolve(exchange.path)
        if resource is not None:
            exchange.endpoint, exchange.path_values = resource.endpoint, resource.path_values
        if exchange.protocol_error is not None:
            raise exchange.protocol_error
        if resource is None:
            raise UnknownUrl(method=printable(exchange.method), path=printable(exchange.path))
        route = resource.route(exchange.method)
        if route is not None:
            exchange.route = route
            await route.endpoint_of(self.endpoints)(exchange, receive, answer)
        elif exchange.method == "OPTIONS":
            await answer.no_content({"allow": resource.allowed_methods})
        else:
            raise _method_not_allowed(exchange, resource)


def _method_not_allowed(exchange: Exchange, resource: Resource) -> MethodNotAllowed:
    return MethodNotAllowed(
        method=printable(exchange.method),
        path=printable(exchange.path),
        allowed_methods=resource.allowed_methods,
        headers={"allow": resource.allowed_methods},
    )
