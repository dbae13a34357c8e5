"""Offers of protocol upgrades, which are ignored except for the console's WebSockets (RFC 9110, 7.8).

A request whose offer is ignored is served over HTTP/1.1.
llhttp takes everything after such a head for the other protocol. A new parser, which has seen a head with the
same framing and no offer, reads the body instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import httptools

WEBSOCKETS = b"/console/ws/"
_FRAMING = frozenset({b"content-length", b"transfer-encoding"})


def is_websocket_offer(method: bytes, target: bytes, headers: Sequence[tuple[bytes, bytes]]) -> bool:
    """Return whether a request without a body offers a WebSocket where the site has one."""
    fields = {name: value.lower() for name, value in headers}
    return (
        method == b"GET"
        and target.startswith(WEBSOCKETS)
        and fields.get(b"upgrade") == b"websocket"
        and not _FRAMING & fields.keys()
    )


class ParserCallbacks(Protocol):
    """The callbacks of an HTTP parser."""

    def on_message_begin(self) -> None: ...
    def on_url(self, url: bytes) -> None: ...
    def on_header(self, name: bytes, value: bytes) -> None: ...
    def on_headers_complete(self) -> None: ...
    def on_chunk_header(self) -> None: ...
    def on_body(self, body: bytes) -> None: ...
    def on_message_complete(self) -> None: ...


class _AfterHead:
    """Passes callbacks on, except those of the first head, which has been handled already."""

    def __init__(self, callbacks: ParserCallbacks) -> None:
        self._callbacks = callbacks
        self._has_head = False
        self.on_chunk_header = callbacks.on_chunk_header
        self.on_body = callbacks.on_body
        self.on_message_complete = callbacks.on_message_complete

    def on_message_begin(self) -> None:
        if self._has_head:
            self._callbacks.on_message_begin()

    def on_url(self, url: bytes) -> None:
        if self._has_head:
            self._callbacks.on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._has_head:
            self._callbacks.on_header(name, value)

    def on_headers_complete(self) -> None:
        if self._has_head:
            self._callbacks.on_headers_complete()
        self._has_head = True


def begin_body(
    callbacks: ParserCallbacks, headers: Sequence[tuple[bytes, bytes]]
) -> tuple[httptools.HttpRequestParser, bytes]:
    """Return a parser for the bytes that follow a head, and a head to feed it first.

    Feeding the head may complete the message, or raise HttpParserError.
    """
    parser = httptools.HttpRequestParser(_AfterHead(callbacks))
    parser.set_dangerous_leniencies(lenient_data_after_close=True)
    fields = [b"%s: %s\r\n" % field for field in headers if field[0] in _FRAMING]
    return parser, b"POST / HTTP/1.1\r\n" + b"".join(fields) + b"\r\n"
