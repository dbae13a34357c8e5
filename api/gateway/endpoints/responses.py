"""``POST /v1/responses``: creates responses from chat calls, with the client or in the background."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from typing_extensions import override

from api.gateway.http.answer import Answer
from api.gateway.http.disconnect import Receive, cancel_on_disconnect
from api.gateway.http.exchange import Exchange
from api.gateway.settings import Limits
from api.gateway.stages.admission import Admission, AdmittedCall, PreparedRequest
from api.gateway.stages.relay import Relay
from api.gateway.stages.reserve import Reservations
from api.gateway.state.stored_responses import History, ResponseStore
from api.gateway.streams.detached import DetachedRequest, DetachedRequests
from api.gateway.streams.event_log import EventLogs, LogKind
from api.gateway.streams.log_readers import LogReaders
from api.gateway.streams.log_writer import LogWriter
from api.gateway.streams.response_writers import StreamedResponse, WholeResponse
from api.gateway.streams.translators import ResponseTranslator, StoreResponse
from api.openai.errors.base import ApiError
from api.openai.errors.parameters import InvalidRequest
from api.openai.responses.event_assembly import ResponseAssembly
from api.openai.responses.requests import validate_response_body
from api.openai.responses.response_fields import new_id
from api.openai.responses.response_plan import ResponsePlan
from api.openai.validation.engine_request import EngineRequest
from inference_worker.client.interface import Call
from inference_worker.protocol.messages import Operation


@dataclass(frozen=True, slots=True)
class PreparedResponse(PreparedRequest):
    """A validated request for a response, with the chat request that produces it."""

    plan: ResponsePlan
    engine_request: EngineRequest
    history_bytes: int

    @override
    def translate_error(self, error: ApiError) -> ApiError:
        return self.plan.translate_error(error)


@dataclass(frozen=True, slots=True)
class PendingResponse:
    """An admitted request for a response, and the translator of the engine's output."""

    admitted: AdmittedCall[PreparedResponse]
    response_id: str
    translator: ResponseTranslator

    @property
    def plan(self) -> ResponsePlan:
        """The validated request."""
        return self.admitted.request.plan

    @property
    def exchange(self) -> Exchange:
        """The request's exchange, until a log writer takes it over."""
        return self.admitted.exchange

    @property
    def call(self) -> Call:
        """The call for an engine."""
        return self.admitted.call


@contextlib.contextmanager
def _errors_translated(plan: ResponsePlan) -> Iterator[None]:
    """Translate errors about the chat request to the parameters of the Responses request."""
    try:
        yield
    except ApiError as error:
        raise plan.translate_error(error) from None


@dataclass(frozen=True, slots=True)
class Responses:
    """Creates responses."""

    limits: Limits
    admission: Admission
    reservations: Reservations
    relay: Relay
    detached: DetachedRequests
    logs: EventLogs
    log_readers: LogReaders
    store: ResponseStore

    async def create(self, exchange: Exchange, receive: Receive, answer: Answer) -> None:
        """Serve one request. Raises ApiError, Disconnected."""

        async def prepare(body: Any) -> PreparedResponse:
            return await self._prepare(validate_response_body(body), exchange)

        admitted = await self.admission.admit(exchange, receive, Operation.CHAT_COMPLETIONS, prepare)
        pending = self._pending_response(admitted)
        plan = pending.plan
        if plan.is_background or plan.outlives_client:
            self._check_size(pending)
            await self._serve_detached(pending, receive, answer)
        else:
            response_class = StreamedResponse if plan.is_streamed else WholeResponse
            writer = response_class(pending.translator, answer)
            with _errors_translated(plan):
                await cancel_on_disconnect(receive, self.relay.run(pending.call, writer, exchange))

    async def _prepare(self, plan: ResponsePlan, exchange: Exchange) -> PreparedResponse:
        exchange.streamed = plan.is_streamed
        history = History()
        if plan.previous_response_id is not None:
            history = await self.store.history(plan.previous_response_id, exchange.tenant_id)
        return PreparedResponse(plan, plan.chat(history.items), history.size_bytes)

    def _pending_response(self, admitted: AdmittedCall[PreparedResponse]) -> PendingResponse:
        plan, exchange = admitted.request.plan, admitted.exchange
        response_id = new_id("resp")
        assembly = ResponseAssembly(
            plan,
            response_id=response_id,
            created_at=int(exchange.started_at),
            model=admitted.entry.name,
        )
        translator = ResponseTranslator(assembly, self._final_store(plan, exchange))
        return PendingResponse(admitted, response_id, translator)

    def _final_store(self, plan: ResponsePlan, exchange: Exchange) -> StoreResponse | None:
        """Return the function that stores the finished response; a background response is stored already."""
        if plan.is_background:
            return self.store.update
        if plan.is_stored:
            return lambda body: self.store.create(plan, exchange, body)
        return None

    async def _serve_detached(self, pending: PendingResponse, receive: Receive, answer: Answer) -> None:
        plan, exchange = pending.plan, pending.exchange
        with self.log_readers.slot(exchange.tenant_id) if plan.is_streamed else contextlib.nullcontext():
            if plan.is_background:
                await self._serve_background(pending, receive, answer)
            else:
                writer = await self._open_log(pending)
                await self.log_readers.read_own(self._run(pending, writer), receive, answer)

    async def _serve_background(self, pending: PendingResponse, receive: Receive, answer: Answer) -> None:
        queued = pending.translator.snapshot
        # Store before dispatching, so that no response is generated that its client can't retrieve.
        await self.store.create(pending.plan, pending.exchange, queued)
        try:
            request = self._run(pending, await self._open_log(pending))
            # The first event follows the reservation: if this process dies after its client has the id, the
            # sweep settles the request.
            await asyncio.shield(request.writer.first_event)
        except ApiError:
            await self._discard(pending)
            raise
        if pending.plan.is_streamed:
            await self.log_readers.read_own(request, receive, answer)
        else:
            await answer.json(json.dumps(queued).encode())

    async def _discard(self, pending: PendingResponse) -> None:
        """Delete a response that could not be started: its client has no id. The sweep ends leftovers."""
        for delete in (self.store.delete, self.logs.delete):
            with contextlib.suppress(ApiError):
                await delete(pending.response_id, pending.exchange.tenant_id)

    async def _open_log(self, pending: PendingResponse) -> LogWriter:
        return await self.detached.open_log(
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
            if pending.plan.is_background:
                await self.reservations.reserve(writer.exchange)
                await writer.write(pending.translator.begin())
                # Not essential: the response is stored again at its end.
                with contextlib.suppress(ApiError):
                    await self.store.update(pending.translator.snapshot)
            with _errors_translated(pending.plan):
                await self.relay.run(pending.call, writer, writer.exchange)

        return self.detached.run(writer, work)
