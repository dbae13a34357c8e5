"""The gateway as an ASGI application: calls endpoints, sends errors for exceptions, records every end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass

from api.gateway.capacity.process_capacity import Capacity
from api.gateway.cors import CorsPolicy, cors_policy
from api.gateway.http.body_headers import check_body_headers
from api.gateway.http.disconnect import Disconnected, Receive, Scope, Send
from api.gateway.http.exchange import Exchange, begin_exchange
from api.gateway.http.query_parameters import parse_query
from api.gateway.http.response_sender import ResponseSender
from api.gateway.http.url_table import Resource, Route
from api.gateway.settings import Limits
from api.gateway.stages.access.authenticate import FindPrincipal
from api.gateway.stages.access.authorize import authorize
from api.gateway.stages.recording.record_end import RequestRecorder
from api.gateway.urls.endpoints import Endpoints
from api.gateway.urls.table import INTERNAL_URLS, URLS
from api.openai.errors.access import ClientDisconnected, MethodNotAllowed, UnknownUrl
from api.openai.errors.base import ApiError, printable
from api.openai.errors.service import GatewayStopping, InternalError
from backoffice.request_ids import request_id
from inference_worker.telemetry.correlation import correlation_id
from inference_worker.telemetry.masking import trace_without_messages

logger = logging.getLogger("cyllm.gateway")

HEALTH = "/health"
UNRECORDED = (HEALTH + "/", "/internal/")
ERROR_WRITE_TIMEOUT_S = 5.0  # for clients that have stopped reading


@dataclass(frozen=True, slots=True)
class Gateway:
    """Serves ``/v1/*``, ``/health``, ``/health/*`` and ``/internal/*``. One per process."""

    endpoints: Endpoints
    limits: Limits
    capacity: Capacity
    recorder: RequestRecorder
    find_principal: FindPrincipal

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one HTTP request."""
        exchange = begin_exchange(scope, self.limits.trusted_proxies)
        correlation_id.set(exchange.correlation_id)
        request_id.set(exchange.request_id)
        sender = ResponseSender(send, exchange)
        sender.headers += self._cors().response_fields(exchange.header(b"origin"))
        if exchange.path == HEALTH or exchange.path.startswith(UNRECORDED):
            await self._serve(exchange, receive, sender)
            return
        try:
            with exchange.resources:
                await self._serve(exchange, receive, sender)
        finally:
            if not exchange.is_handed_over:
                self.recorder.record_end(exchange)

    async def _serve(self, exchange: Exchange, receive: Receive, sender: ResponseSender) -> None:
        """Call the endpoint. However it ends, set the outcome and complete the response."""
        try:
            await self._call_endpoint(exchange, receive, sender)
            exchange.complete()
        except Disconnected:
            exchange.fail(ClientDisconnected())
        except ApiError as error:
            await self._send_error(exchange, sender, error)
        except asyncio.CancelledError:
            await self._send_error(exchange, sender, GatewayStopping())
            raise
        except Exception as error:
            # The exception's text can quote the request.
            logger.error("request failed", extra={"trace": trace_without_messages(error)})
            await self._send_error(exchange, sender, InternalError())

    async def _send_error(self, exchange: Exchange, sender: ResponseSender, error: ApiError) -> None:
        exchange.fail(error)
        try:
            async with asyncio.timeout(ERROR_WRITE_TIMEOUT_S):
                await sender.error(error)
        except (Disconnected, TimeoutError):
            logger.debug("the client did not receive its error")

    async def _call_endpoint(self, exchange: Exchange, receive: Receive, sender: ResponseSender) -> None:
        resource = URLS.resolve(exchange.path) or INTERNAL_URLS.resolve(exchange.path)
        if resource is not None:
            exchange.path_template, exchange.path_values = resource.path_template, resource.path_values
        if exchange.protocol_error is not None:
            raise exchange.protocol_error
        if (preflight := self._preflight(exchange)) is not None:
            await sender.no_content(preflight)
            return
        if resource is None:
            raise UnknownUrl(method=printable(exchange.method), path=printable(exchange.path))
        route = resource.route(exchange.method)
        if route is not None:
            await self._check_route(route, exchange)
            await route.endpoint_of(self.endpoints)(exchange, receive, sender)
        elif exchange.method == "OPTIONS":
            await sender.no_content({"allow": resource.allowed_methods})
        else:
            raise _method_not_allowed(exchange, resource)

    async def _check_route(self, route: Route, exchange: Exchange) -> None:
        """Check everything that a route declares but its body. Raises ApiError."""
        if route.schema is not None and not route.is_form:
            exchange.content_coding = check_body_headers(exchange, self.limits.max_body_bytes)
        # Before the body is read, so that unauthenticated clients can't occupy memory.
        if route.scopes:
            await authorize(exchange, route.scopes, self.find_principal)
        if route.query is not None:
            exchange.query = parse_query(exchange.query_string, route.query)

    def _preflight(self, exchange: Exchange) -> Mapping[str, str] | None:
        """Return the fields that answer an allowed preflight, which needs no key, or None."""
        if exchange.method != "OPTIONS" or exchange.header(b"access-control-request-method") is None:
            return None
        requested_fields = exchange.header(b"access-control-request-headers")
        return self._cors().preflight_fields(exchange.header(b"origin"), requested_fields)

    def _cors(self) -> CorsPolicy:
        return cors_policy(self.limits.allowed_origins)


def _method_not_allowed(exchange: Exchange, resource: Resource) -> MethodNotAllowed:
    return MethodNotAllowed(
        method=printable(exchange.method),
        path=printable(exchange.path),
        allowed_methods=resource.allowed_methods,
        headers={"allow": resource.allowed_methods},
    )
