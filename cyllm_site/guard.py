"""One HTTP/1.1 connection: what is no proper request is answered from the error catalogue, and ended.

uvicorn's own protocol answers broken bytes in plain text, takes heads and trailers without end and for any
time, and stops reading on a pipelined request, so that it no longer sees a client leave.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from api.gateway.http.disconnect import Message, Receive, Scope, Send
from api.gateway.http.exchange import REFUSED
from api.gateway.http.request_ids import new_request_id
from api.openai.errors.access import ClientDisconnected, HeadersTooLarge, HeadTimeout
from api.openai.errors.base import ApiError
from api.openai.errors.service import GatewayStopping, InternalError
from cyllm_site.refusals import broken_request, head_fault, refusal_bytes, send_error, with_path
from inference_worker.telemetry.lines import trace_without_texts

logger = logging.getLogger("cyllm.site.guard")

MAX_HEAD_BYTES = 64 * 1024
HEAD_TIMEOUT_S = 20.0
DRAIN_TIMEOUT_S = 20.0  # for the rest of a body whose request has been answered
LINGER_S = 2.0  # a client that is still sending would lose its answer if the connection were closed at once
LINGER_BYTES = 8 * 1024 * 1024
LEAVING_S = 1.0  # a client that has said all may wait so long for what is read in a moment
READING = frozenset({"GET", "HEAD", "OPTIONS"})
_DISCONNECT: Message = {"type": "http.disconnect"}


class GuardedProtocol(HttpToolsProtocol):
    """Bounds heads, trailers and time, one request after the other, errors of the catalogue only."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._inner, self.app = self.app, self._answer
        self._deaf = False
        self._in_head = self._in_body = False
        self._field_bytes = 0
        self._loose_bytes = 0
        self._lingering = False
        self._lingering_bytes = 0
        self._left = False
        self._fault: ApiError | None = None
        self._timer: asyncio.TimerHandle | None = None

    # What arrives

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self._start_timer(HEAD_TIMEOUT_S, self._head_overdue)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            self._overhear(data)
            return
        self._loose_bytes += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # Answered as the plain request that it also is; what follows is nothing that the parser knows.
            self._last_request()
        except httptools.HttpParserError as error:
            self._broken(_fault_of(error))
        else:
            if self._loose_bytes > MAX_HEAD_BYTES:
                self._broken(HeadersTooLarge(limit=MAX_HEAD_BYTES))

    def eof_received(self) -> bool | None:  # type: ignore[override]  # asyncio lets the way back stay open
        """Who closes the sending side leaves, as far as anyone can tell, but may still be told so."""
        if self.scheme == "https" or self._lingering:
            return None
        if self._answering():
            self._last_request()
            patience_s = LEAVING_S if self.cycle.scope["method"] in READING else 0.0
            self.loop.call_later(patience_s, self._leave)
            return True
        if self._in_head:
            self._broken(broken_request("it ends within the head"))
            return True
        return None

    # What the parser found

    def on_message_begin(self) -> None:
        super().on_message_begin()
        # Not at each byte, as uvicorn does: empty lines would keep a connection open for ever.
        self._unset_keepalive_if_required()
        self._in_head = True
        self._field_bytes = self._loose_bytes = 0
        self._start_timer(HEAD_TIMEOUT_S, self._head_overdue)

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        self._count(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count(len(name) + len(value) + 4)
        # Trailers are read over: appended to the headers they could change what was checked before.
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._loose_bytes = 0
        self._stop_timer()
        if self._answering():
            # Left unanswered: the running answer says that it closes the connection, and stays cancellable.
            self._last_request()
            return
        self.url = with_path(self.url)
        version = self.parser.get_http_version()
        fault = head_fault(version, self.headers)
        if fault is not None:
            extensions: dict[str, Any] = {REFUSED: fault}
            self.scope["extensions"] = extensions
        if version == "1.0" or fault is not None:
            self.expect_100_continue = False
        super().on_headers_complete()
        self._in_body = True
        if fault is not None:
            # Where a head is open to two readings, so is where its request ends.
            self.cycle.keep_alive = False

    def on_chunk_header(self) -> None:
        """The size of a chunk has been read."""
        self._loose_bytes = 0

    def on_body(self, body: bytes) -> None:
        self._loose_bytes = 0
        if not self._deaf:
            super().on_body(body)

    def on_message_complete(self) -> None:
        if not self._deaf:
            self._in_body = False
            self._stop_timer()
            super().on_message_complete()

    # What becomes of it

    def _count(self, size: int) -> None:
        self._field_bytes += size
        if self._field_bytes > MAX_HEAD_BYTES:
            raise HeadersTooLarge(limit=MAX_HEAD_BYTES)

    def _answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _last_request(self) -> None:
        """Nothing after the running request is taken; what comes is still read, to see the client leave."""
        self._deaf = True
        if self.cycle is not None:
            self.cycle.keep_alive = False

    def _overhear(self, data: bytes) -> None:
        """Data that nobody waits for is dropped, and after the answer only for so long."""
        self._lingering_bytes += len(data) if self._lingering else 0
        if self._lingering_bytes > LINGER_BYTES:
            self.transport.close()

    def _broken(self, error: ApiError) -> None:
        """End what can't be read on. A running request that waits for its body is refused by its own way."""
        waiting = self._in_body and not self._deaf
        self._last_request()
        if self._answering():
            self._fault = error if waiting else None
            self.cycle.message_event.set()
        elif waiting:  # of a request that has been answered
            self.transport.close()
        else:
            self._refuse(error)

    def _refuse(self, error: ApiError) -> None:
        request_id = new_request_id()
        peer = self.client[0] if self.client else "-"
        logger.warning("refused unread: code=%s peer=%s id=%s", error.code, peer, request_id)
        self.transport.write(refusal_bytes(error, request_id, self.server_state.default_headers))
        self._close_softly()

    def _leave(self) -> None:
        if self._answering() and not self.transport.is_closing():
            self._left = True
            self.cycle.message_event.set()

    def _close_softly(self) -> None:
        self._deaf = self._lingering = True
        self.flow.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._start_timer(LINGER_S, self.transport.close)

    def _head_overdue(self) -> None:
        if self._in_head and not self.transport.is_closing():
            self._broken(HeadTimeout(limit_s=HEAD_TIMEOUT_S))
        else:
            self.transport.close()

    def _start_timer(self, seconds: float, then: Callable[[], object]) -> None:
        self._stop_timer()
        self._timer = self.loop.call_later(seconds, then)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    # Around the application

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application; whatever it leaves unsaid is said in the catalogue's form."""
        cycle = self.cycle

        async def receiving() -> Message:
            message = _DISCONNECT if self._left else await receive()
            if self._fault is not None:
                raise self._fault
            return _DISCONNECT if self._left else message

        async def sending(message: Message) -> None:
            await self._send(cycle, send, message)

        async def say(error: ApiError) -> None:
            if not cycle.response_started:
                await send_error(sending, error, request_id)

        request_id = new_request_id()
        try:
            await self._inner(scope, receiving, sending)
            await say(ClientDisconnected() if self._left else InternalError())
        except asyncio.CancelledError:
            await say(GatewayStopping())
            raise
        except ApiError as error:
            await say(error)
        except Exception as error:
            logger.error(
                "an application failed: id=%s", request_id, extra={"trace": trace_without_texts(error)}
            )
            await say(InternalError())
        if not cycle.response_complete:
            cycle.disconnected = cycle.disconnected or self._left
            self.transport.close()

    async def _send(self, cycle: RequestResponseCycle, send: Send, message: Message) -> None:
        """Where a body is still coming, the connection must outlive its answer by a moment."""
        last = message["type"] == "http.response.body" and not message.get("more_body", False)
        ending = last and self._in_body and not cycle.keep_alive
        cycle.keep_alive = cycle.keep_alive or ending
        await send(message)
        if ending:
            self._close_softly()
        elif last and self._in_body and not self.transport.is_closing():
            self._start_timer(DRAIN_TIMEOUT_S, self.transport.close)


def _fault_of(error: httptools.HttpParserError) -> ApiError:
    if isinstance(error.__context__, ApiError):
        return error.__context__
    if isinstance(error, httptools.HttpParserCallbackError):
        # Only addresses are looked at in callbacks, and the texts of those errors quote them.
        return broken_request("the request target is malformed")
    return broken_request(str(error))
