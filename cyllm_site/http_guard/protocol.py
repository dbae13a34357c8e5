"""A strict HTTP/1.1 connection for uvicorn: malformed requests get an error from the catalogue.

uvicorn's own protocol reports malformed requests in plain text, does not bound the size and duration of heads
and trailers, and stops reading at a pipelined request, so it misses the client's disconnect.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from api.gateway.cors import STATE, CorsPolicy
from api.gateway.http.disconnect import Message, Receive, Scope, Send
from api.gateway.http.exchange import PROTOCOL_ERROR
from api.gateway.http.request_ids import new_request_id
from api.openai.errors.access import ClientDisconnected, HeadersTooLarge, HeadTimeout
from api.openai.errors.base import ApiError
from api.openai.errors.service import GatewayStopping, InternalError
from cyllm_site.http_guard.closing import ClosingTransport
from cyllm_site.http_guard.discarding import pace_discarded
from cyllm_site.http_guard.half_close import watch_peer
from cyllm_site.http_guard.request_heads import head_error, normalize_target, parse_error
from cyllm_site.http_guard.upgrades import begin_body, is_websocket_offer
from cyllm_site.middleware.error_responses import error_response, send_error
from inference_worker.telemetry.masking import trace_without_messages

logger = logging.getLogger("cyllm.site.guard")

MAX_HEAD_BYTES = 64 * 1024
HEAD_TIMEOUT_S = 20.0
DRAIN_TIMEOUT_S = 20.0  # for the rest of a body after its response
LINGER_S = 2.0  # closing at once while a client still sends would destroy its response
LINGER_BYTES = 8 * 1024 * 1024
_DISCONNECT: Message = {"type": "http.disconnect"}


class GuardedProtocol(HttpToolsProtocol):
    """Bounds the size and duration of heads and trailers, and serves one request at a time."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._inner, self.app = self.app, self._run_application
        self._is_parsing = True
        self._is_websocket = False
        self._in_head = self._in_body = False
        self._field_bytes = 0
        self._framing_bytes = 0
        self._is_lingering = False
        self._lingering_bytes = 0
        self._is_disconnected = False
        self._is_unbounded = False
        self._body_error: ApiError | None = None
        self._timer: asyncio.TimerHandle | None = None

    # ---- asyncio protocol ----

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        super().connection_made(transport)
        self.transport = ClosingTransport(transport, self.loop)  # type: ignore[assignment]  # passes all else on
        self._start_timer(HEAD_TIMEOUT_S, self._on_head_timeout)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if not self._is_parsing:
            self._discard(data)
            return
        self._framing_bytes += len(data)
        try:
            self._feed(data)
        except httptools.HttpParserError as error:
            self._reject(_api_error(error))
        else:
            if self._framing_bytes > MAX_HEAD_BYTES:
                self._reject(HeadersTooLarge(limit=MAX_HEAD_BYTES))
            elif self._in_body and self.cycle.response_complete:
                pace_discarded(len(data), self.flow, self.transport, self._peer)

    def _feed(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            if self._is_websocket:
                self.handle_websocket_upgrade()
            elif self._is_parsing:
                self.parser, head = begin_body(self, self.headers)
                self.parser.feed_data(head)
                self._feed(data[upgrade.args[0] :])

    def eof_received(self) -> bool | None:  # type: ignore[override]  # asyncio keeps the transport if true
        """Keep a half-closed connection open for the response. A request that breaks off is a disconnect."""
        if self.scheme == "https" or self._is_lingering:  # TLS has no half-closed connections
            return None
        if self._is_responding():
            if self._is_parsing and self._in_body:
                self._disconnect()
            else:
                self.cycle.waiting_for_100_continue = False
                watch_peer(self.loop, self.transport, self.cycle, self.transport.abort)
            self._stop_parsing()
            return True
        if self._in_head:
            self._reject(parse_error("it ends within the head"))
            return True
        return None

    # ---- parser callbacks ----

    def on_message_begin(self) -> None:
        super().on_message_begin()
        # Not at each byte, as uvicorn does: empty lines would keep a connection open forever.
        self._unset_keepalive_if_required()
        self._in_head = True
        self._field_bytes = self._framing_bytes = 0
        self._start_timer(HEAD_TIMEOUT_S, self._on_head_timeout)

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        self._count(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count(len(name) + len(value) + 4)
        # Trailers are discarded: appended to the headers, they could override validated ones.
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._framing_bytes = 0
        self._stop_timer()
        if self._is_responding():
            # A pipelined request is ignored: the response announces that it closes the connection.
            self._stop_parsing()
            return
        self.url = normalize_target(self.url)
        version = self.parser.get_http_version()
        error = head_error(version, self.headers)
        if error is not None:
            extensions: dict[str, Any] = {PROTOCOL_ERROR: error}
            self.scope["extensions"] = extensions
        if version == "1.0" or error is not None:
            self.expect_100_continue = False
        self._is_websocket = error is None and self._offers_websocket(version)
        super().on_headers_complete()
        self._in_body = not self._is_websocket
        if error is not None:
            # An ambiguous head leaves the end of its request ambiguous too.
            self.cycle.keep_alive = False

    def on_chunk_header(self) -> None:
        """Reset the count of framing bytes: a chunk's size line is complete."""
        self._framing_bytes = 0

    def on_body(self, body: bytes) -> None:
        self._framing_bytes = 0
        if self._is_parsing:
            self.cycle.waiting_for_100_continue = False  # a client that has begun to send waits for nothing
            super().on_body(body)

    def on_message_complete(self) -> None:
        if self._is_parsing and not self.parser.should_upgrade():
            self._in_body = False
            self._stop_timer()
            super().on_message_complete()

    # ---- WebSockets ----

    def _offers_websocket(self, version: str) -> bool:
        method = self.parser.get_method()
        has_sockets = version == "1.1" and self.ws_protocol_class is not None
        return has_sockets and is_websocket_offer(method, self.url, self.headers)

    def _should_upgrade(self) -> bool:
        return self._is_websocket

    # ---- ends of requests and connections ----

    def _count(self, size: int) -> None:
        self._field_bytes += size
        if self._field_bytes > MAX_HEAD_BYTES:
            raise HeadersTooLarge(limit=MAX_HEAD_BYTES)

    @property
    def _peer(self) -> str:
        """The address at the other end of the connection."""
        return self.client[0] if self.client else "-"

    def _is_responding(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _stop_parsing(self) -> None:
        """Accept nothing after the current request, but keep reading to notice a disconnect."""
        self._is_parsing = False
        if self.cycle is not None:
            self.cycle.keep_alive = False

    def _discard(self, data: bytes) -> None:
        self._lingering_bytes += len(data) if self._is_lingering else 0
        if self._lingering_bytes > LINGER_BYTES:
            self.transport.close()
        pace_discarded(len(data), self.flow, self.transport, self._peer)

    def _reject(self, error: ApiError) -> None:
        """Stop at malformed bytes. An application that waits for the body raises the error itself."""
        is_in_body = self._in_body and self._is_parsing
        self._stop_parsing()
        if self._is_responding():
            self._body_error = error if is_in_body else None
            self.cycle.message_event.set()
        elif is_in_body:  # the response is already complete
            self.transport.close()
        else:
            self._respond(error)

    def _respond(self, error: ApiError) -> None:
        request_id = new_request_id()
        logger.warning("rejected a request: code=%s peer=%s id=%s", error.code, self._peer, request_id)
        fields = [*self.server_state.default_headers, *self._cors_fields()]
        self.transport.write(error_response(error, request_id, fields))
        self._linger()

    def _cors_fields(self) -> list[tuple[bytes, bytes]]:
        """Return the fields that let pages of other origins read an error of the guard."""
        policy: CorsPolicy | None = self.app_state.get(STATE)
        origins = [value.decode("latin-1") for name, value in self.headers or () if name == b"origin"]
        # A refused head may break off before the origin; a policy for all origins needs none.
        return [] if policy is None else policy.response_fields(origins[0] if origins else "")

    def _disconnect(self) -> None:
        self._is_disconnected = True
        self.cycle.message_event.set()

    def _linger(self) -> None:
        """Close the sending side, and the connection a moment later."""
        self._is_parsing, self._is_lingering = False, True
        self.flow.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._start_timer(LINGER_S, self.transport.close)

    def _on_head_timeout(self) -> None:
        if self._in_head and not self.transport.is_closing():
            self._reject(HeadTimeout(limit_s=HEAD_TIMEOUT_S))
        else:
            self.transport.close()

    def _start_timer(self, seconds: float, callback: Callable[[], object]) -> None:
        self._stop_timer()
        self._timer = self.loop.call_later(seconds, callback)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    # ---- the application ----

    async def _run_application(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application, and send an error if it sent no response."""
        cycle = self.cycle
        request_id = new_request_id()

        async def guarded_send(message: Message) -> None:
            await self._send(cycle, send, message)

        async def send_error_once(error: ApiError) -> None:
            if not cycle.response_started:
                await send_error(guarded_send, error, request_id)

        try:
            await self._inner(scope, self._guarded(receive), guarded_send)
            await send_error_once(ClientDisconnected() if self._is_disconnected else InternalError())
        except asyncio.CancelledError:
            await send_error_once(GatewayStopping())
            raise
        except ApiError as error:
            await send_error_once(error)
        except Exception as error:
            trace = {"trace": trace_without_messages(error)}
            logger.error("an application failed: id=%s", request_id, extra=trace)
            await send_error_once(InternalError())
        if not cycle.response_complete:
            cycle.disconnected = cycle.disconnected or self._is_disconnected
            self.transport.close()

    def _guarded(self, receive: Receive) -> Receive:
        """Return a ``receive`` that reports half-closed connections and raises errors of malformed bodies."""

        async def guarded_receive() -> Message:
            message = _DISCONNECT if self._is_disconnected else await receive()
            if self._body_error is not None:
                raise self._body_error
            return _DISCONNECT if self._is_disconnected else message

        return guarded_receive

    async def _send(self, cycle: RequestResponseCycle, send: Send, message: Message) -> None:
        """Send, and keep the connection for a moment if the body is still arriving."""
        is_last = message["type"] == "http.response.body" and not message.get("more_body", False)
        is_closing = is_last and self._in_body and not cycle.keep_alive
        cycle.keep_alive = cycle.keep_alive or is_closing
        if cycle.scope["http_version"] == "1.0":
            self._send_without_chunks(cycle, message)
        await send(message)
        if is_closing:
            self._linger()
        elif is_last and self._in_body and not self.transport.is_closing():
            self._start_timer(DRAIN_TIMEOUT_S, self.transport.close)

    def _send_without_chunks(self, cycle: RequestResponseCycle, message: Message) -> None:
        """Let the end of the connection end a body without a length: HTTP/1.0 has no chunks."""
        if message["type"] == "http.response.start":
            has_length = any(name.lower() == b"content-length" for name, _ in message.get("headers", ()))
            cycle.chunked_encoding = None if has_length else False
            self._is_unbounded = not has_length
        elif self._is_unbounded:
            # uvicorn compares this with the size of the body, which may be any.
            cycle.expected_content_length = len(message.get("body", b""))


def _api_error(error: httptools.HttpParserError) -> ApiError:
    if isinstance(error.__context__, ApiError):
        return error.__context__
    if isinstance(error, httptools.HttpParserCallbackError):
        # Only target checks raise in callbacks, and their texts quote the target.
        return parse_error("the request target is malformed")
    return parse_error(str(error))
