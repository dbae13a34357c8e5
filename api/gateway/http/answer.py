"""Writes the answer: a JSON document, or server-sent events whose head waits for the first of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from api.gateway.http.disconnect import Disconnected, Send
from api.gateway.http.exchange import Exchange
from api.openai.errors.base import ApiError

COMMENT = b": waiting\n\n"
DONE = b"data: [DONE]\n\n"
EVENT_STREAM = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
)
JSON = (b"content-type", b"application/json")
NOT_GUESSED = (b"x-content-type-options", b"nosniff")


def _error_events(error: ApiError) -> bytes:
    return b"data: " + error.body() + b"\n\n" + DONE


class Answer:
    """The response to one request. ``has_data``: the client holds a part of a model's answer.

    ``headers`` go out with the head; ``error_events`` makes the end of a stream that breaks off.
    """

    def __init__(self, send: Send, exchange: Exchange) -> None:
        self.has_data = False
        self.ended = False
        self.headers: list[tuple[bytes, bytes]] = []
        self.error_events: Callable[[ApiError], bytes] = _error_events
        self._send = send
        self._exchange = exchange
        self._said_done = False
        self._started = False

    async def json(self, body: bytes, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        """The whole answer as one document."""
        more = [(name.encode(), value.encode("latin-1")) for name, value in (headers or {}).items()]
        await self._start(status, [JSON, (b"content-length", str(len(body)).encode()), *more])
        await self._body(body, last=True)

    async def nothing(self, headers: Mapping[str, str]) -> None:
        """An answer that is its head alone."""
        await self._start(204, [(name.encode(), value.encode("latin-1")) for name, value in headers.items()])
        await self._body(b"", last=True)

    async def error(self, error: ApiError) -> None:
        """The error with its status if that is still possible, otherwise as the stream's last event."""
        if not self._started:
            await self.json(error.body(), error.status, error.headers)
        elif not self.ended:
            await self._body(self.error_events(error), last=True)

    async def data(self, events: bytes) -> None:
        """Whole events of the model's answer, in one piece."""
        self.has_data = True
        self._said_done = events.endswith(DONE)
        if not self._started:
            await self._start(200, EVENT_STREAM)
        await self._body(events)

    async def comment(self) -> None:
        """A line that clients skip; it keeps proxies from closing a silent connection."""
        if not self._started:
            await self._start(200, EVENT_STREAM)
        await self._body(COMMENT)

    async def finish(self) -> None:
        """End the stream; says ``[DONE]`` if the engine did not."""
        if not self._started:
            await self._start(200, EVENT_STREAM)
        await self._body(b"" if self._said_done else DONE, last=True)

    def begin_again(self) -> None:
        """Another worker is asked: nothing was sent."""

    async def end(self) -> None:
        """End the stream with what it has."""
        if not self._started:
            await self._start(200, EVENT_STREAM)
        await self._body(b"", last=True)

    async def _start(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> None:
        self._started = True
        self._exchange.status = status
        named = (b"x-request-id", self._exchange.correlation_id.encode())
        sent = [*headers, *self.headers, NOT_GUESSED, named]
        await self._write({"type": "http.response.start", "status": status, "headers": sent})

    async def _body(self, body: bytes, *, last: bool = False) -> None:
        self.ended = last
        await self._write({"type": "http.response.body", "body": body, "more_body": not last})

    async def _write(self, message: dict[str, object]) -> None:
        try:
            await self._send(message)
        except OSError as error:
            # Servers of ASGI 2.4 raise this once the client has gone; older ones drop what is sent.
            raise Disconnected from error
