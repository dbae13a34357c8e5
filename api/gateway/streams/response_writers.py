"""Responses assembled from an engine's chat chunks: events for a client or a log, or the whole object."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

from typing_extensions import override

from api.gateway.http.answer import Answer
from api.gateway.stages.relay import OutputWriter
from api.gateway.streams.event_log import LogKind, closing_events
from api.gateway.streams.translators import Translator
from api.openai.errors.base import ApiError
from api.openai.errors.resources import RequestCancelled
from api.openai.errors.service import EngineError
from api.openai.responses.event_assembly import ResponseAssembly, encode_event
from inference_worker.protocol import sse

StoreResponse = Callable[[Mapping[str, Any]], Awaitable[None]]


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


class StreamedResponse(OutputWriter):
    """Sends a client the events of a response while they are generated."""

    def __init__(self, translator: ResponseTranslator, answer: Answer) -> None:
        self.has_data = False
        self._translator, self._answer = translator, answer
        answer.error_events = lambda error: sse.join_events(translator.failure_events(error))

    @override
    async def data(self, events: bytes) -> None:
        self.has_data = True
        if translated := self._translator.translate(events):
            await self._answer.data(sse.join_events(translated))

    @override
    async def comment(self) -> None:
        await self._answer.comment()

    @override
    async def finish(self) -> None:
        await self._answer.data(sse.join_events(await self._translator.finish()))
        await self._answer.end()

    @override
    def restart(self) -> None:
        """Do nothing: no data has been sent."""

    @override
    async def json(self, body: bytes) -> None:
        # The chat request is always streamed.
        raise TypeError(f"expected a stream from the engine, got a document of {len(body)} bytes")


class WholeResponse(StreamedResponse):
    """Sends a client the complete response object; until then another worker may start over."""

    def __init__(self, translator: ResponseTranslator, answer: Answer) -> None:
        super().__init__(translator, answer)
        self._chunks: list[bytes] = []

    @override
    async def data(self, events: bytes) -> None:
        # Nothing is sent, so ``has_data`` stays false.
        self._chunks.append(events)

    @override
    def restart(self) -> None:
        self._chunks.clear()

    @override
    async def comment(self) -> None:
        """Do nothing: a JSON document can't contain comments."""

    @override
    async def finish(self) -> None:
        self._translator.translate(b"".join(self._chunks))
        await self._translator.finish()
        await self._answer.json(json.dumps(self._translator.snapshot).encode())
