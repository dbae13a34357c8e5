"""Chat chunks of an engine as a response: its events for a log or a client, or the object at the end."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

from api.gateway.http.answer import Answer
from api.gateway.streams.event_log import DONE, Kind, closing_events
from api.gateway.streams.translators import END
from api.openai.errors.base import ApiError
from api.openai.errors.resources import RequestCancelled
from api.openai.errors.service import EngineError
from api.openai.responses.assembly import ResponseAssembly, event_bytes

DATA = b"data: "
Keep = Callable[[Mapping[str, Any]], Awaitable[None]]


class ResponseTranslator:
    """Makes the events of one response; ``keep`` stores it at its end, before anybody is told of that."""

    def __init__(self, assembly: ResponseAssembly, keep: Keep | None) -> None:
        self._assembly, self._keep = assembly, keep
        self._begun = False
        self._given = 0

    @property
    def snapshot(self) -> dict[str, Any]:
        """The response as it is now."""
        return self._assembly.snapshot()

    def begin(self) -> list[bytes]:
        """The first events. Others begin by themselves."""
        return self._passed(self._first())

    def take(self, data: bytes) -> list[bytes]:
        """See ``translate.Translator``."""
        events = self._first()
        for piece in data.split(END):
            if piece.startswith(DATA) and piece != DONE:
                events += self._assembly.chunk(_chunk(piece[len(DATA) :]))
        return self._passed(events)

    async def finish(self) -> list[bytes]:
        """See ``translate.Translator``."""
        events = [*self._first(), *self._assembly.finish()]
        await self._kept()
        return self._passed(events)

    async def fail(self, error: ApiError) -> list[bytes]:
        """See ``translate.Translator``."""
        was_complete = self._assembly.is_ended
        events = self.failed(error)
        await self._kept(error if was_complete else None)
        return events

    def failed(self, error: ApiError) -> list[bytes]:
        """The last events of a response that is not complete, and that nobody stores."""
        if self._assembly.is_ended:
            # It was complete and could not be stored: the client, who knows nothing of that yet, is told.
            return closing_events(Kind.RESPONSE, error, self._given)
        first = self._first()
        cancelled = isinstance(error, RequestCancelled)
        last = self._assembly.cancel() if cancelled else self._assembly.fail(error)
        return self._passed([*first, *last])

    def _first(self) -> list[dict[str, Any]]:
        if self._begun:
            return []
        self._begun = True
        return self._assembly.begin()

    def _passed(self, events: Iterable[Mapping[str, Any]]) -> list[bytes]:
        made = [event_bytes(event).removesuffix(END) for event in events]
        self._given += len(made)
        return made

    async def _kept(self, told: ApiError | None = None) -> None:
        """``told``: what the client of a complete response was told instead."""
        if self._keep is not None:
            made = self._assembly
            await self._keep(made.snapshot() if told is None else made.failed_instead(told))


def _chunk(data: bytes) -> dict[str, Any]:
    try:
        chunk = json.loads(data)
    except ValueError:
        chunk = None
    if not isinstance(chunk, dict):
        raise EngineError()
    return chunk


class LiveResponse:
    """Gives a client the events of a response as they come."""

    def __init__(self, translator: ResponseTranslator, answer: Answer) -> None:
        self.has_data = False
        self._translator, self._answer = translator, answer
        answer.error_events = lambda error: _joined(translator.failed(error))

    async def data(self, events: bytes) -> None:
        """See ``relay.AnswerWriter``."""
        self.has_data = True
        if made := self._translator.take(events):
            await self._answer.data(_joined(made))

    async def comment(self) -> None:
        """See ``relay.AnswerWriter``."""
        await self._answer.comment()

    async def finish(self) -> None:
        """See ``relay.AnswerWriter``."""
        await self._answer.data(_joined(await self._translator.finish()))
        await self._answer.end()

    def begin_again(self) -> None:
        """See ``relay.AnswerWriter``."""

    async def json(self, body: bytes) -> None:
        """The engine is always asked for a stream."""
        raise TypeError(f"an engine answered in one piece ({len(body)} bytes)")


class WholeResponse(LiveResponse):
    """Gives a client the response alone, at its end; until then another worker may begin it again."""

    def __init__(self, translator: ResponseTranslator, answer: Answer) -> None:
        super().__init__(translator, answer)
        self._chunks: list[bytes] = []

    async def data(self, events: bytes) -> None:
        """See ``relay.AnswerWriter``. Nothing is sent, so nothing counts as data."""
        self._chunks.append(events)

    def begin_again(self) -> None:
        """See ``relay.AnswerWriter``."""
        self._chunks.clear()

    async def comment(self) -> None:
        """A document has no place for it."""

    async def finish(self) -> None:
        """See ``relay.AnswerWriter``."""
        self._translator.take(b"".join(self._chunks))
        await self._translator.finish()
        await self._answer.json(json.dumps(self._translator.snapshot).encode())


def _joined(events: Iterable[bytes]) -> bytes:
    return b"".join(event + END for event in events)
