"""One attempt of one request, from Submit to its last event: an ASGI call into the engine."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextvars import ContextVar

import msgspec

from inference_worker.protocol import sse
from inference_worker.protocol.faults import AdapterFault, RequestFault, ResponseTooLarge
from inference_worker.protocol.messages import Event, FailureKind, Operation, Outcome, Submit
from inference_worker.runtime.adapters.errors import AdapterUnavailableError
from inference_worker.runtime.calls.adapter_model import engine_body
from inference_worker.runtime.calls.asgi_call import engine_scope
from inference_worker.runtime.calls.context_length import exact_overflow
from inference_worker.runtime.calls.engine import Engine, Message
from inference_worker.runtime.calls.event_numbering import NumberedEvents
from inference_worker.runtime.calls.fast_path import TextFastPath, current_fast_path, is_plain
from inference_worker.runtime.calls.fault_parsing import error_status, parse_fault
from inference_worker.runtime.calls.meter import CallMeter, current_meter
from inference_worker.runtime.calls.projection import project_document, project_events
from inference_worker.runtime.calls.sequence_shares import SequenceShares
from inference_worker.telemetry.correlation import correlation_id
from inference_worker.telemetry.masking import trace_without_messages

logger = logging.getLogger("cyllm.worker.call")

current_call: ContextVar[EngineCall | None] = ContextVar("current_call", default=None)

ABORT_GRACE_S = 2.0
WORKER_STOPS = "worker stops"
ERROR_EVENT = sse.DATA + b'{"error"'
TOO_LARGE = 413
# Redis disconnects a subscriber with too much pending output (32 MB by default), which would end all streams
# of a gateway.
MAX_RESPONSE_BYTES = 16 * 1024 * 1024


class EngineCall:
    """Passes a request to the engine and turns the response into events.

    ``sequences``: the shares of tenants in the engine's batch; None: no tenant has to wait. ``fault`` may be
    set by an engine that knows why it fails the request, and ``abort_grace_s`` by one that doesn't listen for
    a disconnect.
    """

    def __init__(
        self,
        submit: Submit,
        engine: Engine,
        emit: Callable[[Event], None],
        sequences: SequenceShares | None = None,
    ) -> None:
        self.submit = submit
        self._events = NumberedEvents(submit, emit)
        self.meter = CallMeter(self._events.emit_accepted)
        self.outcome = Outcome.FAILED
        self.fault: RequestFault | None = None
        self.abort_grace_s = ABORT_GRACE_S
        self._engine = engine
        self._sequences = sequences or SequenceShares(0)
        self._has_sent = False
        self._status = 0
        self._body = bytearray()
        self._error_event: bytes | None = None
        self._cancel_reason: str | None = None
        self._is_body_delivered = False
        self._engine_body = b""
        self._is_in_engine = False
        self._adapter_error: AdapterUnavailableError | None = None
        self._disconnect = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._fast_path: TextFastPath | None = None
        empty_chunks = engine.fast_paths.get(submit.operation)
        if empty_chunks is not None and is_plain(submit):
            self._fast_path = TextFastPath(submit.operation, self.meter, self._emit_delta, empty_chunks)

    @property
    def engine_id(self) -> str:
        """The request's id at the engine, which adds a prefix of its own."""
        return self.submit.request_id.removeprefix("req_")

    async def run(self) -> None:
        """Run the attempt to its last event, Finished or Failed."""
        self._task = asyncio.current_task()
        correlation_id.set(self.submit.correlation_id)
        current_meter.set(self.meter)
        current_fast_path.set(self._fast_path)
        current_call.set(self)
        exception = ""
        try:
            if self._cancel_reason is not None:  # before this task has started, when none could be aborted
                raise asyncio.CancelledError
            async with self._sequences.occupy(self.submit, self.meter.observe_acceptance):
                self.meter.observe_start()
                async with engine_body(self._engine, self.submit) as self._engine_body:
                    self._is_in_engine = True
                    await self._run_in_engine()
        except AdapterUnavailableError as error:
            self._adapter_error = error
        except asyncio.CancelledError:
            if self._cancel_reason is None:
                self.cancel(WORKER_STOPS)
        except Exception as error:
            # The engine's application handles its own errors, so this is a broken engine. The exception's
            # text may quote the prompt; the trace does not.
            logger.error("the engine failed", extra={"trace": trace_without_messages(error)})
            exception = type(error).__name__
        self._conclude(exception)
        if self._fast_path is not None:
            logger.debug("%d chunks took the fast path", self._fast_path.chunks)

    async def _run_in_engine(self) -> None:
        scope = engine_scope(self.submit.operation, self.engine_id)
        await self._engine.app(scope, self._receive, self._send)
        if self._status == 400 and self.fault is None:
            self.fault = await exact_overflow(self._engine, self.submit, self._engine_body, bytes(self._body))

    def cancel(self, reason: str) -> None:
        """Report a client disconnect to the engine, and abort the call if it does not react."""
        if self._cancel_reason is not None:
            return
        self._cancel_reason = reason
        self._engine.count_partial(self.engine_id, self.meter)
        self._disconnect.set()
        if self._task is not None:
            grace_s = self.abort_grace_s if self._is_in_engine else 0.0
            asyncio.get_running_loop().call_later(grace_s, self._task.cancel)

    async def _receive(self) -> Message:
        if not self._is_body_delivered:
            self._is_body_delivered = True
            return {"type": "http.request", "body": self._engine_body, "more_body": False}
        await self._disconnect.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
        elif message["type"] == "http.response.body":
            self._add_body(message.get("body", b""))

    def _add_body(self, data: bytes) -> None:
        if not data or self._cancel_reason is not None:
            return
        if not (self.submit.streamed and self._status == 200):
            self._body += data
        elif data.startswith(ERROR_EVENT):
            self._error_event = data
        elif self._error_event is None:
            data = self._projected(project_events, data)
            self._emit_delta(data)
            if self._fast_path is not None:
                self._fast_path.observe_chunk(data)

    def _projected(self, project: Callable[[Operation, bytes], bytes], data: bytes) -> bytes:
        try:
            return project(self.submit.operation, data)
        except msgspec.MsgspecError:
            # A remote engine may send anything; clients then receive what it sent.
            logger.warning("the engine's output does not have the form of %s", self.submit.operation)
            return data

    def _emit_delta(self, data: bytes) -> None:
        if self._cancel_reason is None:
            self._has_sent = True
            self._events.emit_delta(data)

    def _conclude(self, exception: str) -> None:
        is_worker_ending = self._cancel_reason == WORKER_STOPS or (
            self._engine.is_dead and self._status != 200
        )
        if is_worker_ending and not self._has_sent:
            # Nothing has reached the client, so another worker can serve the request.
            self._fail(FailureKind.REFUSED, 0, self._cancel_reason or "the engine has ended")
        elif self._cancel_reason is not None:
            self.outcome = Outcome.CANCELLED
            self._fail(FailureKind.CANCELLED, 0, self._cancel_reason)
        elif self._adapter_error is not None:
            logger.warning("adapter unavailable: %s", self._adapter_error)
            self.fault = AdapterFault(reason=str(self._adapter_error))
            self._fail(self._adapter_error.kind, 0, self.fault.reason)
        elif exception:
            self._fail(FailureKind.ENGINE, 500, exception)
        elif self._error_event is not None:
            self._fail_with_event(self._error_event.removeprefix(sse.DATA).decode(errors="replace").strip())
        elif self._status == 200 and len(self._body) > MAX_RESPONSE_BYTES:
            self.fault = ResponseTooLarge(response_bytes=len(self._body), limit_bytes=MAX_RESPONSE_BYTES)
            self._fail(FailureKind.REQUEST, TOO_LARGE, "the response is too large")
        elif self._status == 200:
            self.outcome = Outcome.COMPLETED
            self._events.emit_finished(self._document(), self.meter.reading())
        else:
            self._fail_with_response()

    def _document(self) -> bytes:
        """Return the body of a whole response, empty if it was streamed."""
        return self._projected(project_document, bytes(self._body)) if self._body else b""

    def _fail_with_event(self, body: str) -> None:
        """Fail after an error event in a stream with status 200. Before any output it counts as a 4xx."""
        status = error_status(body)
        if 400 <= status < 500 and not self._has_sent:
            self._fail(FailureKind.REQUEST, status, body)
        else:
            self._fail(FailureKind.ENGINE, 500, body)

    def _fail_with_response(self) -> None:
        kind = FailureKind.REQUEST if 400 <= self._status < 500 else FailureKind.ENGINE
        if self._status in (502, 503, 504):
            kind = FailureKind.UPSTREAM
        self._fail(kind, self._status, bytes(self._body).decode(errors="replace"))

    def _fail(self, kind: FailureKind, status: int, detail: str) -> None:
        self._events.emit_failed(kind, status, detail, self.meter.reading(), self._fault_of(kind, detail))

    def _fault_of(self, kind: FailureKind, detail: str) -> RequestFault | None:
        if kind is FailureKind.REQUEST:
            return self.fault or parse_fault(detail)
        is_known = kind is FailureKind.UPSTREAM or isinstance(self.fault, AdapterFault)
        return self.fault if is_known else None
