"""uvicorn's WebSockets with two gaps closed: refused handshakes get a response, unread pongs have a limit."""

from __future__ import annotations

import logging

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.http11 import MAX_LINE_LENGTH

from api.gateway.http.request_ids import new_request_id
from api.openai.errors.access import HeadersTooLarge
from cyllm_site.middleware.error_responses import error_response

logger = logging.getLogger("cyllm.site.guard")

MAX_UNREAD_BYTES = 1024 * 1024


class GuardedSocket(WebSocketsSansIOProtocol):
    """A WebSocket that closes its connection where uvicorn would keep it open or buffer without limit."""

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.handshake_exc is not None and not self.handshake_initiated:
            self._refuse()

    def _refuse(self) -> None:
        """Respond to a head that the websockets library can't read: uvicorn doesn't.

        The HTTP parser has accepted it, so a line is too long for the library, or there are too many fields.
        """
        error, request_id = HeadersTooLarge(limit=MAX_LINE_LENGTH), new_request_id()
        logger.warning("rejected a socket: code=%s id=%s", error.code, request_id)
        self.handshake_complete = self.close_sent = True  # otherwise a shutdown would respond again
        self.transport.write(error_response(error, request_id, self.default_headers))
        self.transport.close()

    def handle_ping(self) -> None:
        """Send the pong, or abort if the client leaves too much unread: uvicorn buffers without limit."""
        if self.transport.get_write_buffer_size() > MAX_UNREAD_BYTES:
            self.transport.abort()
        if self.transport.is_closing():
            self.conn.data_to_send()
        else:
            super().handle_ping()
