"""The destination of an engine's output, as the relay sees it."""

from __future__ import annotations

from typing import Protocol


class OutputWriter(Protocol):
    """The destination of an engine's output: the client, or an event log.

    ``has_data``: part of the output has been written.
    """

    has_data: bool

    async def data(self, events: bytes) -> None:
        """Write whole events of a stream, in one piece."""
        ...

    async def comment(self) -> None:
        """Write a keep-alive: the engine is still generating."""
        ...

    async def finish(self) -> None:
        """Complete the stream."""
        ...

    async def json(self, body: bytes) -> None:
        """Write the whole output as one document."""
        ...

    def restart(self) -> None:
        """Prepare for the output of another worker; called only before there is data."""
        ...
