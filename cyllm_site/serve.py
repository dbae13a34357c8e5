"""``python -m cyllm_site.serve``: uvicorn with limits on what a client may send before it is known.

uvicorn's own protocol takes headers without end and for any time, and stops reading on a pipelined
request, so that it no longer sees a client leave. A proxy in front would mend that; nobody has to have one.
"""

from __future__ import annotations

import argparse
import asyncio
import logging

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

logger = logging.getLogger("cyllm.site.serve")

MAX_HEAD_BYTES = 64 * 1024
HEAD_TIMEOUT_S = 20.0


class GuardedProtocol(HttpToolsProtocol):
    """One HTTP/1.1 connection. A head that is too long or too slow ends it; requests are not pipelined."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self._head_bytes = 0
        self._in_head = True
        self._dropping = False
        self._head_timer = self.loop.call_later(HEAD_TIMEOUT_S, self._head_overdue)

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._in_head:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._in_head and self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            logger.warning("a request head of more than %d bytes was refused", MAX_HEAD_BYTES)
            self.send_400_response("The request's headers are too large.")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head = True
        self._head_bytes = 0
        self._head_timer.cancel()
        self._head_timer = self.loop.call_later(HEAD_TIMEOUT_S, self._head_overdue)

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._head_timer.cancel()
        answering = self.cycle
        super().on_headers_complete()
        if self.pipeline:
            # Left unanswered: the running answer says that it closes the connection, and stays cancellable.
            self.pipeline.clear()
            self.cycle = answering
            self.cycle.keep_alive = False
            self._dropping = True
            self.flow.resume_reading()

    def on_body(self, body: bytes) -> None:
        if not self._dropping:
            super().on_body(body)

    def on_message_complete(self) -> None:
        if not self._dropping:
            super().on_message_complete()

    def _head_overdue(self) -> None:
        if self._in_head and not self.transport.is_closing():
            self.transport.close()


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m cyllm_site.serve", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--workers", type=int, default=1, help="gateway processes")
    parser.add_argument("--ssl-certfile", help="with --ssl-keyfile: serve TLS")
    parser.add_argument("--ssl-keyfile")
    parser.add_argument("--graceful-s", type=int, default=30, help="time for running answers after SIGTERM")
    options = parser.parse_args()
    uvicorn.run(
        "cyllm_site.asgi:application",
        host=options.host,
        port=options.port,
        workers=options.workers,
        ssl_certfile=options.ssl_certfile,
        ssl_keyfile=options.ssl_keyfile,
        timeout_graceful_shutdown=options.graceful_s,
        timeout_keep_alive=75,
        loop="uvloop",
        http=GuardedProtocol,
        ws="none",
        lifespan="on",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        log_config=None,
    )


if __name__ == "__main__":
    main()
