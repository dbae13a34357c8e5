"""Writers of responses for a client: events while they are generated, or the object at the end."""

from __future__ import annotations

import json

from typing_extensions import override

from api.gateway.http.response_sender import ResponseSender
from api.gateway.stages.relay.output_writer import OutputWriter
from api.gateway.streams.output.translators import ResponseTranslator
from inference_worker.protocol import sse


class StreamedResponse(OutputWriter):
    """Sends a client the events of a response while they are generated.

    The first events say nothing about the output, so another worker may start over after them.
    """

    def __init__(self, translator: ResponseTranslator, sender: ResponseSender) -> None:
        self.has_data = False
        self._translator, self._sender = translator, sender
        sender.error_events = lambda error: sse.join_events(translator.failure_events(error))

    async def begin(self) -> None:
        """Send the first events: the request is admitted. Later errors are events, without an HTTP status."""
        await self._sender.data(sse.join_events(self._translator.begin()))

    @override
    async def data(self, events: bytes) -> None:
        self.has_data = True
        if translation := self._translator.translate(events):
            await self._sender.data(sse.join_events(translation))

    @override
    async def comment(self) -> None:
        await self._sender.comment()

    @override
    async def finish(self) -> None:
        await self._sender.data(sse.join_events(await self._translator.finish()))
        await self._sender.end()

    @override
    def restart(self) -> None:
        """Do nothing: no data has been sent."""

    @override
    async def json(self, body: bytes) -> None:
        # The chat request is always streamed.
        raise TypeError(f"expected a stream from the engine, got a document of {len(body)} bytes")


class WholeResponse(StreamedResponse):
    """Sends a client the complete response object; until then another worker may start over."""

    def __init__(self, translator: ResponseTranslator, sender: ResponseSender) -> None:
        super().__init__(translator, sender)
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
        await self._sender.json(json.dumps(self._translator.snapshot).encode())
