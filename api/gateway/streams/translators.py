"""Translators: from the events an engine streams to the events that a client or a log receives."""

from __future__ import annotations

from typing import Protocol

from typing_extensions import override

from api.gateway.streams.event_log import LogKind, closing_events
from api.openai.errors.base import ApiError
from inference_worker.protocol import sse


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
        return [event for event in sse.split_events(data) if event != sse.DONE and not event.startswith(b":")]

    @override
    async def finish(self) -> list[bytes]:
        return [sse.DONE]

    @override
    async def fail(self, error: ApiError) -> list[bytes]:
        return closing_events(self._kind, error, 0)
