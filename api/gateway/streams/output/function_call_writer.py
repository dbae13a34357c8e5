"""The writer of chat completions for requests with the deprecated ``functions``."""

from __future__ import annotations

import json

from typing_extensions import override

from api.gateway.http.response_sender import ResponseSender
from api.gateway.stages.relay.output_writer import OutputWriter
from api.gateway.streams.output.translators import FunctionCalls
from api.openai.errors.service import EngineError
from api.openai.validation.deprecated_functions import function_call_completion
from inference_worker.protocol import sse


class FunctionCallWriter(OutputWriter):
    """Sends a client function calls in place of the engine's tool calls."""

    def __init__(self, sender: ResponseSender) -> None:
        self.has_data = False
        self._sender = sender
        self._translator = FunctionCalls()

    @override
    async def data(self, events: bytes) -> None:
        self.has_data = True
        await self._sender.data(sse.join_events(self._translator.translate(events)))

    @override
    async def comment(self) -> None:
        await self._sender.comment()

    @override
    async def finish(self) -> None:
        await self._sender.finish()

    @override
    async def json(self, body: bytes) -> None:
        try:
            completion = function_call_completion(json.loads(body))
        except (ValueError, LookupError, TypeError):
            raise EngineError() from None
        await self._sender.json(json.dumps(completion, ensure_ascii=False).encode())

    @override
    def restart(self) -> None:
        """Do nothing: no data has been sent."""
