"""Endpoints that make a single engine call: chat, completions, embeddings, tokenize and detokenize."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from typing_extensions import override

from api.gateway.http.disconnect import Receive, cancel_on_disconnect
from api.gateway.http.exchange import Exchange
from api.gateway.http.response_sender import ResponseSender
from api.gateway.stages.admission.pipeline import Admission, AdmittedCall, PreparedRequest
from api.gateway.stages.relay.output_writer import OutputWriter
from api.gateway.stages.relay.relay import Relay
from api.gateway.streams.event_logs.detached_requests import DetachedRequest, DetachedRequests
from api.gateway.streams.event_logs.log_readers import LogReaders
from api.gateway.streams.output.closing_events import LogKind
from api.gateway.streams.output.function_call_writer import FunctionCallWriter
from api.gateway.streams.output.tier_writer import TierWriter
from api.gateway.streams.output.translators import FunctionCalls, PassThrough
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
class EngineEndpoints:
    """Serves requests with one engine call each."""

    admission: Admission
    relay: Relay
    detached_requests: DetachedRequests
    log_readers: LogReaders

    async def serve(
        self,
        exchange: Exchange,
        receive: Receive,
        sender: ResponseSender,
        operation: Operation,
        validate: BodyValidator,
    ) -> None:
        """Serve one request. Raises ApiError, Disconnected."""

        async def prepare(engine_request: EngineRequest) -> GenerationRequest:
            exchange.is_streamed = engine_request.is_streamed
            return GenerationRequest(engine_request)

        admitted_call = await self.admission.admit(exchange, receive, operation, validate, prepare)
        if admitted_call.request.engine_request.is_detached:
            await self._serve_detached(admitted_call, receive, sender)
        else:
            has_functions = admitted_call.request.engine_request.has_functions
            writer = with_tier(admitted_call, FunctionCallWriter(sender) if has_functions else sender)
            await cancel_on_disconnect(receive, self.relay.run(admitted_call.call, writer, exchange))

    async def _serve_detached(
        self, admitted_call: AdmittedCall[GenerationRequest], receive: Receive, sender: ResponseSender
    ) -> None:
        with self.log_readers.slot(admitted_call.exchange.tenant_id):
            request = await self._detach(admitted_call)
            await self.log_readers.read_own(request, receive, sender)

    async def _detach(self, admitted_call: AdmittedCall[GenerationRequest]) -> DetachedRequest:
        """Run the call as a task that outlives its client and owns the exchange's resources."""
        call, kind = admitted_call.call, LOG_KINDS[admitted_call.call.operation]
        log_id = stream_id(kind, call.request_id)
        has_functions = admitted_call.request.engine_request.has_functions
        translator = FunctionCalls() if has_functions else PassThrough(kind)
        writer = await self.detached_requests.open_log(log_id, kind, translator, admitted_call.exchange)
        tier_writer = with_tier(admitted_call, writer)
        return self.detached_requests.run(writer, lambda: self.relay.run(call, tier_writer, writer.exchange))


def with_tier(admitted_call: AdmittedCall[GenerationRequest], writer: OutputWriter) -> OutputWriter:
    """Return a writer that names the tier used, if the client asks for one, as in OpenAI's API."""
    if admitted_call.request.engine_request.service_tier is None:
        return writer
    return TierWriter(writer, admitted_call.service_tier)


def stream_id(kind: LogKind, request_id: str) -> str:
    """Return the id of a stream: the id that the engine gives its chunks."""
    return f"{kind.id_prefix}-{request_id.removeprefix('req_')}"
