"""``POST /v1/responses``: creates responses from chat calls, with the client or in the background."""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import dataclass

from api.gateway.endpoints.response_requests import PreparedResponseRequest, stored_conversation
from api.gateway.http.disconnect import Receive, cancel_on_disconnect
from api.gateway.http.exchange import Exchange
from api.gateway.http.response_sender import ResponseSender
from api.gateway.settings import Limits
from api.gateway.stages.admission.pipeline import Admission, AdmittedCall
from api.gateway.stages.recording.record_start import StartRecorder
from api.gateway.stages.relay.relay import Relay
from api.gateway.state.stored_responses import ResponseStore
from api.gateway.streams.event_logs.detached_requests import DetachedRequest, DetachedRequests
from api.gateway.streams.event_logs.event_log import EventLogs
from api.gateway.streams.event_logs.log_readers import LogReaders
from api.gateway.streams.event_logs.log_writer import LogWriter
from api.gateway.streams.output.closing_events import LogKind
from api.gateway.streams.output.response_writers import StreamedResponse, WholeResponse
from api.gateway.streams.output.translators import ResponseTranslator, StoreResponse
from api.openai.errors.base import ApiError
from api.openai.errors.parameters import InvalidRequest
from api.openai.responses.events.numbered_events import ResponseAssembly
from api.openai.responses.requests import validate_response_body
from api.openai.responses.response_fields import new_id
from api.openai.responses.response_plan import ResponsePlan
from inference_worker.client.interface import Call
from inference_worker.protocol.messages import Operation


@dataclass(frozen=True, slots=True)
class PendingResponse:
    """An admitted request for a response, and the translator of the engine's output."""

    admitted_call: AdmittedCall[PreparedResponseRequest]
    response_id: str
    translator: ResponseTranslator

    @property
    def plan(self) -> ResponsePlan:
        """The validated request."""
        return self.admitted_call.request.plan

    @property
    def exchange(self) -> Exchange:
        """The request's exchange, until a log writer takes it over."""
        return self.admitted_call.exchange

    @property
    def call(self) -> Call:
        """The call for an engine."""
        return self.admitted_call.call


@dataclass(frozen=True, slots=True)
class ResponseEndpoints:
    """Creates responses."""

    limits: Limits
    admission: Admission
    start_recorder: StartRecorder
    relay: Relay
    detached_requests: DetachedRequests
    logs: EventLogs
    log_readers: LogReaders
    store: ResponseStore

    async def create(self, exchange: Exchange, receive: Receive, sender: ResponseSender) -> None:
        """Serve one request. Raises ApiError, Disconnected."""

        async def prepare(plan: ResponsePlan) -> PreparedResponseRequest:
            exchange.is_streamed = plan.is_streamed
            plan, history = await stored_conversation(self.store, plan, exchange.tenant_id)
            return PreparedResponseRequest(plan, plan.chat(history.items), history.size_bytes)

        admitted_call = await self.admission.admit(
            exchange, receive, Operation.CHAT_COMPLETIONS, validate_response_body, prepare
        )
        pending = self._pending_response(admitted_call)
        plan = pending.plan
        if plan.is_background or plan.outlives_client:
            self._check_size(pending)
            await self._serve_detached(pending, receive, sender)
        else:
            await cancel_on_disconnect(receive, self._run_attached(pending, sender))

    async def _run_attached(self, pending: PendingResponse, sender: ResponseSender) -> None:
        """Run a response that ends when its client disconnects. Raises ApiError."""
        writer: StreamedResponse = WholeResponse(pending.translator, sender)
        if pending.plan.is_streamed:
            writer = StreamedResponse(pending.translator, sender)
            await self.start_recorder.record_start(pending.exchange)
            await writer.begin()
        await self.relay.run(pending.call, writer, pending.exchange, pending.plan.translate_error)

    def _pending_response(self, admitted_call: AdmittedCall[PreparedResponseRequest]) -> PendingResponse:
        plan, exchange = admitted_call.request.plan, admitted_call.exchange
        response_id = new_id("resp")
        assembly = ResponseAssembly(
            plan,
            response_id=response_id,
            created_at=int(exchange.started_at),
            model=admitted_call.entry.name,
            sampling_defaults=admitted_call.sampling_defaults,
            service_tier=admitted_call.service_tier,
        )
        translator = ResponseTranslator(assembly, self._final_store(plan, exchange))
        return PendingResponse(admitted_call, response_id, translator)

    def _final_store(self, plan: ResponsePlan, exchange: Exchange) -> StoreResponse | None:
        """Return the function that stores the finished response; a background response is stored already."""
        if plan.is_background:
            return self.store.update
        if plan.is_stored:
            return lambda body: self.store.create(plan, exchange, body)
        return None

    async def _serve_detached(
        self, pending: PendingResponse, receive: Receive, sender: ResponseSender
    ) -> None:
        plan, exchange = pending.plan, pending.exchange
        with self.log_readers.slot(exchange.tenant_id) if plan.is_streamed else contextlib.nullcontext():
            if plan.is_background:
                await self._serve_background(pending, receive, sender)
            else:
                writer = await self._open_log(pending)
                await self.log_readers.read_own(self._run(pending, writer), receive, sender)

    async def _serve_background(
        self, pending: PendingResponse, receive: Receive, sender: ResponseSender
    ) -> None:
        queued_response = pending.translator.snapshot
        # Store before dispatching, so that no response is generated that its client can't retrieve.
        await self.store.create(pending.plan, pending.exchange, queued_response)
        try:
            request = self._run(pending, await self._open_log(pending))
            # The first event follows the reservation: if this process dies after its client has the id, the
            # sweep settles the request.
            await asyncio.shield(request.writer.first_event)
        except ApiError:
            await self._discard(pending)
            raise
        if pending.plan.is_streamed:
            await self.log_readers.read_own(request, receive, sender)
        else:
            await sender.json(json.dumps(queued_response).encode())

    async def _discard(self, pending: PendingResponse) -> None:
        """Delete a response that could not be started. Its client has no id; the sweep ends leftovers."""
        for delete in (self.store.delete, self.logs.delete):
            with contextlib.suppress(ApiError):
                await delete(pending.response_id, pending.exchange.tenant_id)

    async def _open_log(self, pending: PendingResponse) -> LogWriter:
        return await self.detached_requests.open_log(
            pending.response_id, LogKind.RESPONSE, pending.translator, pending.exchange
        )

    def _check_size(self, pending: PendingResponse) -> None:
        # The last event repeats the request's parameters, and the log stores it whatever its size.
        limit = self.limits.stream_log_bytes
        snapshot = json.dumps(pending.translator.snapshot, ensure_ascii=False)
        if len(snapshot.encode(errors="replace")) > limit:
            reason = f"the parameters that the response repeats exceed {limit} bytes"
            raise InvalidRequest(reason=reason)

    def _run(self, pending: PendingResponse, writer: LogWriter) -> DetachedRequest:
        async def work() -> None:
            await self.start_recorder.record_start(writer.exchange)
            await writer.write(pending.translator.begin())
            if pending.plan.is_background:
                # Not essential: the response is stored again at its end.
                with contextlib.suppress(ApiError):
                    await self.store.update(pending.translator.snapshot)
            await self.relay.run(pending.call, writer, writer.exchange, pending.plan.translate_error)

        return self.detached_requests.run(writer, work)
