"""The HTTP response: a JSON document, or server-sent events whose head is sent with the first event."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from api.gateway.http.disconnect import Disconnected, Send
from api.gateway.http.exchange import Exchange
from api.openai.errors.base import ApiError
from inference_worker.protocol import sse

DONE = sse.DONE + sse.END
EVENT_STREAM = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
)
JSON = (b"content-type", b"application/json")
NOSNIFF = (b"x-content-type-options", b"nosniff")
NO_EFFECT = b"x-cyllm-no-effect"


def _error_events(error: ApiError) -> bytes:
    return sse.join_events([sse.data_event(error.body()), sse.DONE])


class ResponseSender:
    """Sends the response to one request. ``has_data``: part of the engine's output has been sent.

    ``headers`` are sent with the head. ``error_events`` returns the last events of a stream that fails.
    """

    def __init__(self, send: Send, exchange: Exchange) -> None:
        self.has_data = False
        self.is_complete = False
        self.headers: list[tuple[bytes, bytes]] = []
        self.error_events: Callable[[ApiError], bytes] = _error_events
        self._send = send
        self._exchange = exchange
        self._has_head = False
        self._is_download = False

    async def json(self, body: bytes, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        """Send the whole response as one document."""
        length = (b"content-length", str(len(body)).encode())
        await self._send_head(status, [JSON, length, *_encoded(headers or {})])
        await self._send_body(body, is_last=True)

    async def no_content(self, headers: Mapping[str, str]) -> None:
        """Send status 204 with these headers."""
        await self._send_head(204, _encoded(headers))
        await self._send_body(b"", is_last=True)

    async def error(self, error: ApiError) -> None:
        """Send the error with its status if the head has not been sent, otherwise as the last event.

        A download breaks off instead: the server closes the connection before the announced length.
        """
        if not self._has_head:
            await self.json(error.body(), error.status, error.headers)
        elif not self.is_complete and not self._is_download:
            await self._send_body(self.error_events(error), is_last=True)

    async def begin_download(self, length: int, headers: Mapping[str, str]) -> None:
        """Send the head of a download of ``length`` bytes."""
        self._is_download = True
        await self._send_head(200, _encoded({"content-length": str(length), **headers}))

    async def download(self, data: bytes, *, is_last: bool) -> None:
        """Send a piece of a download. Returns once the client has room for more."""
        await self._send_body(data, is_last=is_last)

    async def data(self, events: bytes) -> None:
        """Send whole events of the engine's output, in one piece.

        The engine's ``[DONE]`` is left to ``finish``: the worker can still die before it confirms the end.
        """
        self.has_data = True
        await self.events(events.removesuffix(DONE))

    async def events(self, events: bytes) -> None:
        """Send whole events as they are, in one piece."""
        await self._open_stream()
        if events:
            await self._send_body(events)

    async def comment(self) -> None:
        """Send a comment line, which clients skip; it keeps proxies from closing a silent connection."""
        await self._open_stream()
        await self._send_body(sse.COMMENT)

    async def finish(self) -> None:
        """End the stream with ``[DONE]``."""
        await self._open_stream()
        await self._send_body(DONE, is_last=True)

    def restart(self) -> None:
        """Do nothing: no data has been sent."""

    async def end(self) -> None:
        """End the stream without another event."""
        await self._open_stream()
        await self._send_body(b"", is_last=True)

    async def _open_stream(self) -> None:
        if not self._has_head:
            await self._send_head(200, EVENT_STREAM)

    async def _send_head(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> None:
        self._has_head = True
        self._exchange.status = status
        request_id = (b"x-request-id", self._exchange.correlation_id.encode())
        fields = [*headers, *self.headers, *self._exchange.rate_limit_fields, NOSNIFF, request_id]
        if status == 200 and (names := self._exchange.names_without_effect):
            fields.append((NO_EFFECT, ", ".join(names).encode()))
        await self._write({"type": "http.response.start", "status": status, "headers": fields})

    async def _send_body(self, body: bytes, *, is_last: bool = False) -> None:
        self.is_complete = is_last
        await self._write({"type": "http.response.body", "body": body, "more_body": not is_last})

    async def _write(self, message: dict[str, object]) -> None:
        try:
            await self._send(message)
        except OSError as error:
            # ASGI 2.4 servers raise this after a disconnect; older ones drop the message.
            raise Disconnected from error


def _encoded(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
