"""What an engine streams, as the events that a client or a log is given."""

from __future__ import annotations

from typing import Protocol

from api.gateway.streams.event_log import DONE, Kind, closing_events
from api.openai.errors.base import ApiError

END = b"\n\n"


class Translator(Protocol):
    """Events are bytes without the empty line at their end."""

    def take(self, data: bytes) -> list[bytes]:
        """The events for whole server-sent events of the engine."""
        ...

    async def finish(self) -> list[bytes]:
        """The last events of an answer that is complete. Raises ApiError."""
        ...

    async def fail(self, error: ApiError) -> list[bytes]:
        """The last events of one that is not. Raises ApiError."""
        ...


class PassThrough:
    """The events of chat and completions, which are the engine's own."""

    def __init__(self, kind: Kind) -> None:
        self._kind = kind

    def take(self, data: bytes) -> list[bytes]:
        """See ``Translator``. The end is said with the last event, not before."""
        return [event for event in data.split(END) if event and event != DONE and not event.startswith(b":")]

    async def finish(self) -> list[bytes]:
        """See ``Translator``."""
        return [DONE]

    async def fail(self, error: ApiError) -> list[bytes]:
        """See ``Translator``."""
        return closing_events(self._kind, error, 0)
