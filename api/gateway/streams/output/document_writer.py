"""Base of writers that make one JSON document from an engine's document."""

from __future__ import annotations

from typing_extensions import override

from api.gateway.stages.relay.output_writer import OutputWriter


class DocumentWriter(OutputWriter):
    """A writer without a stream. Subclasses send their document in ``json``."""

    def __init__(self) -> None:
        self.has_data = False

    @override
    async def data(self, events: bytes) -> None:
        raise TypeError(f"expected a document from the engine, got events of {len(events)} bytes")

    @override
    async def comment(self) -> None:
        """Do nothing: a JSON document can't contain comments."""

    @override
    async def finish(self) -> None:
        """Do nothing: ``json`` has sent the whole document."""

    @override
    def restart(self) -> None:
        """Do nothing: no data has been sent."""
