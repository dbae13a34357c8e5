"""Endpoints that make a single engine call: chat, completions, embeddings, tokenize and detokenize."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from typing_extensions import override

from api.gateway.http.answer import Answer
from api.gateway.http.disconnect import Receive, cancel_on_disconnect
from api.gateway.http.exchange import Exchange
from api.gateway.stages.admission import Admission, AdmittedCall, PreparedRequest
from api.gateway.stages.relay import Relay
from api.gateway.streams.detached import DetachedRequest, DetachedRequests
from api.gateway.streams.event_log import LogKind
from api.gateway.streams.log_readers import LogReaders
from api.gateway.streams.translators import PassThrough
from api.openai.errors.base import ApiError
from api.openai.validation.engine_request import EngineRequest
from api.openai.validation.requests import BodyValidator
from inference_worker.protocol.messages import Operation

LOG_KINDS: Mapping[Operation, LogKind] = {
    Operation.CHAT_COMPLETIONS: LogKind.CHAT,
    Operation.COMPLETIONS: LogKind.COMPLETION,
}


@dataclass(frozen=True, slots=True)
class GenerationRequest(PreparedRequest):
    """A request in the engine's own format, so its errors need no translation."""

    engine_request: EngineRequest
    history_bytes: int = 0

    @override
    def translate_error(self, error: ApiError) -> ApiError:
        return error


@dataclass(frozen=True, slots=True)
class Generation:
    """Serves requests with one engine call each."""

    admission: Admission
    relay: Relay
    detached: DetachedRequests
    log_readers: LogReaders

    async def serve(
        self,
        exchange: Exchange,
        receive: Receive,
        answer: Answer,
        operation: Operation,
        validate: BodyValidator,
    ) -> None:
        """Serve one request. Raises ApiError, Disconnected."""

        async def prepare(body: Any) -> GenerationRequest:
            engine_request = validate(body)
            exchange.streamed = engine_request.is_streamed
            return GenerationRequest(engine_request)

        admitted = await self.admission.admit(exchange, receive, operation, prepare)
        if admitted.request.engine_request.is_detached:
            await self._serve_detached(admitted, receive, answer)
        else:
            await cancel_on_disconnect(receive, self.relay.run(admitted.call, answer, exchange))

    async def _serve_detached(
        self, admitted: AdmittedCall[GenerationRequest], receive: Receive, answer: Answer
    ) -> None:
        with self.log_readers.slot(admitted.exchange.tenant_id):
            request = await self._detach(admitted)
            await self.log_readers.read_own(request, receive, answer)

    async def _detach(self, admitted: AdmittedCall[GenerationRequest]) -> DetachedRequest:
        """Run the call as a task that outlives its client and owns the exchange's resources."""
        call, kind = admitted.call, LOG_KINDS[admitted.call.operation]
        log_id = stream_id(kind, call.request_id)
        writer = await self.detached.open_log(log_id, kind, PassThrough(kind), admitted.exchange)
        return self.detached.run(writer, lambda: self.relay.run(call, writer, writer.exchange))


def stream_id(kind: LogKind, request_id: str) -> str:
    """Return the id of a stream: the id that the engine gives its chunks."""
    return f"{kind.id_prefix}-{request_id.removeprefix('req_')}"
