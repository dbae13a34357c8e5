"""Translators: from the events an engine streams to the events that a client or a log receives."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Protocol

from typing_extensions import override

from api.gateway.streams.output.closing_events import LogKind, closing_events
from api.openai.errors.base import ApiError
from api.openai.errors.service import EngineError
from api.openai.errors.streams import RequestCancelled
from api.openai.responses.events.numbered_events import ResponseAssembly, encode_event
from api.openai.validation.deprecated_functions import FunctionCallChunks
from inference_worker.protocol import sse

StoreResponse = Callable[[Mapping[str, Any]], Awaitable[None]]


class Translator(Protocol):
    """Translates the output of one call. Events are bytes without the blank line at their end."""

    def translate(self, data: bytes) -> list[bytes]:
        """Return the events for whole server-sent events of the engine."""
        ...

    async def finish(self) -> list[bytes]:
        """Return the last events of a complete response. Raises ApiError."""
        ...

    async def fail(self, error: ApiError) -> list[bytes]:
        """Return the last events of an incomplete response. Raises ApiError."""
        ...


class PassThrough(Translator):
    """Passes on the engine's own events, for chat and completions."""

    def __init__(self, kind: LogKind) -> None:
        self._kind = kind

    @override
    def translate(self, data: bytes) -> list[bytes]:
        # ``[DONE]`` is written with the last event, not before.
        return [event for event in sse.split_events(data) if event != sse.DONE]

    @override
    async def finish(self) -> list[bytes]:
        return [sse.DONE]

    @override
    async def fail(self, error: ApiError) -> list[bytes]:
        return closing_events(self._kind, error, 0)


class FunctionCalls(PassThrough):
    """Passes on chat chunks with deprecated function calls in place of tool calls."""

    def __init__(self) -> None:
        super().__init__(LogKind.CHAT)
        self._translation = FunctionCallChunks()

    @override
    def translate(self, data: bytes) -> list[bytes]:
        return [self._event(event) for event in super().translate(data)]

    def _event(self, event: bytes) -> bytes:
        if not event.startswith(sse.DATA):
            return event
        chunk = _chunk(event[len(sse.DATA) :])
        if "choices" not in chunk:
            return event
        return sse.data_event(json.dumps(self._translation.add(chunk), ensure_ascii=False).encode())


class ResponseTranslator(Translator):
    """Translates chat chunks to the events of one response.

    ``store`` stores the response at its end, before any client receives the last event.
    """

    def __init__(self, assembly: ResponseAssembly, store: StoreResponse | None) -> None:
        self._assembly, self._store = assembly, store
        self._has_begun = False
        self._event_count = 0

    @property
    def snapshot(self) -> dict[str, Any]:
        """The current state of the response object."""
        return self._assembly.snapshot()

    def begin(self) -> list[bytes]:
        """Return the first events, which otherwise precede the first chunk."""
        return self._encode(self._opening_events())

    @override
    def translate(self, data: bytes) -> list[bytes]:
        events = self._opening_events()
        for event in sse.split_events(data):
            if event.startswith(sse.DATA) and event != sse.DONE:
                events += self._assembly.add_chunk(_chunk(event[len(sse.DATA) :]))
        return self._encode(events)

    @override
    async def finish(self) -> list[bytes]:
        events = [*self._opening_events(), *self._assembly.finish()]
        if self._store is not None:
            await self._store(self._assembly.snapshot())
        return self._encode(events)

    @override
    async def fail(self, error: ApiError) -> list[bytes]:
        was_complete = self._assembly.is_ended
        events = self.failure_events(error)
        if self._store is not None:
            response = self._assembly.failed_snapshot(error) if was_complete else self._assembly.snapshot()
            await self._store(response)
        return events

    def failure_events(self, error: ApiError) -> list[bytes]:
        """Return the last events of an incomplete response without storing it."""
        if self._assembly.is_ended:
            # Complete but not stored. The client has not received the last event, so it receives an error.
            return closing_events(LogKind.RESPONSE, error, self._event_count)
        opening = self._opening_events()
        is_cancelled = isinstance(error, RequestCancelled)
        closing = self._assembly.cancel() if is_cancelled else self._assembly.fail(error)
        return self._encode([*opening, *closing])

    def _opening_events(self) -> list[dict[str, Any]]:
        if self._has_begun:
            return []
        self._has_begun = True
        return self._assembly.begin()

    def _encode(self, events: Iterable[Mapping[str, Any]]) -> list[bytes]:
        encoded_events = [encode_event(event) for event in events]
        self._event_count += len(encoded_events)
        return encoded_events


def _chunk(data: bytes) -> dict[str, Any]:
    try:
        chunk = json.loads(data)
    except ValueError:
        chunk = None
    if not isinstance(chunk, dict):
        raise EngineError()
    return chunk
