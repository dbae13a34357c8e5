"""The writer of chat completions for requests with a ``service_tier``, which names the tier that was used."""

from __future__ import annotations

from typing_extensions import override

from api.gateway.stages.relay.output_writer import OutputWriter

EVENT = b"data: {"


class TierWriter(OutputWriter):
    """Adds the tier to the document or to each chunk, without parsing them."""

    def __init__(self, writer: OutputWriter, tier: str) -> None:
        self.has_data = False
        self._writer = writer
        self._member = f'"service_tier": "{tier}", '.encode()

    @override
    async def data(self, events: bytes) -> None:
        self.has_data = True
        # JSON has no line breaks within strings, so this begins an event wherever it is.
        events = events.replace(b"\n\n" + EVENT, b"\n\n" + EVENT + self._member)
        if events.startswith(EVENT):
            events = EVENT + self._member + events.removeprefix(EVENT)
        await self._writer.data(events)

    @override
    async def comment(self) -> None:
        await self._writer.comment()

    @override
    async def finish(self) -> None:
        await self._writer.finish()

    @override
    async def json(self, body: bytes) -> None:
        await self._writer.json(b"{" + self._member + body.removeprefix(b"{"))

    @override
    def restart(self) -> None:
        self._writer.restart()
