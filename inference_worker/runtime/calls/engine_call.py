"""One attempt of one request, from Submit to its last event: an ASGI call into the engine."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from contextvars import ContextVar

from inference_worker.protocol.messages import (
    Accepted,
    Delta,
    Event,
    Failed,
    FailureKind,
    Finished,
    Meter,
    Outcome,
    Submit,
)
from inference_worker.runtime.calls.context_length import explained
from inference_worker.runtime.calls.engine import Engine, Message
from inference_worker.runtime.calls.engine_paths import scope_of
from inference_worker.runtime.calls.fast_path import TextFastPath, current_sink, is_plain
from inference_worker.runtime.calls.meter import CallMeter, current_meter
from inference_worker.telemetry.correlation import correlation_id
from inference_worker.telemetry.lines import trace_without_texts

logger = logging.getLogger("cyllm.worker.call")

current_submit: ContextVar[Submit | None] = ContextVar("current_submit", default=None)

ABORT_GRACE_S = 2.0
WORKER_STOPS = "worker stops"
EVENT = b"data: "
ERROR_EVENT = EVENT + b'{"error"'
MAX_DETAIL = 16_384
TOO_LARGE = 413
# Redis cuts off a subscriber whose messages pile up (at 32 MB if it isn't told otherwise), and with it all
# streams of a gateway.
MAX_ANSWER_BYTES = 16 * 1024 * 1024


class EngineCall:
    """Gives the engine its request and turns what it sends into numbered events."""

    def __init__(self, submit: Submit, engine: Engine, emit: Callable[[Event], None]) -> None:
        self.submit = submit
        self.meter = CallMeter(self._accepted)
        self.outcome = Outcome.FAILED
        self._engine = engine
        self._emit = emit
        self._index = 0
        self._has_sent = False
        self._status = 0
        self._body = bytearray()
        self._error: bytes | None = None
        self._cancel_reason: str | None = None
        self._body_taken = False
        self._gone = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._sink: TextFastPath | None = None
        empty_pieces = engine.short_ways.get(submit.operation)
        if empty_pieces is not None and is_plain(submit):
            self._sink = TextFastPath(submit.operation, self.meter, self._emit_delta, empty_pieces)

    @property
    def engine_id(self) -> str:
        """The id under which the engine knows the call; ours without its prefix."""
        return self.submit.request_id.removeprefix("req_")

    async def run(self) -> None:
        """Run to the end, whatever it is; the last event is Finished or Failed."""
        self._task = asyncio.current_task()
        correlation_id.set(self.submit.correlation_id)
        current_meter.set(self.meter)
        current_sink.set(self._sink)
        current_submit.set(self.submit)
        detail = ""
        try:
            scope = scope_of(self.submit.operation, self.engine_id)
            await self._engine.app(scope, self._receive, self._send)
            if self._status == 400:
                self._body = bytearray(await explained(self._engine, self.submit, bytes(self._body)))
        except asyncio.CancelledError:
            if self._cancel_reason is None:
                self.cancel(WORKER_STOPS)
        except Exception as error:
            # The engine's application answers its own errors; what comes through is a broken engine.
            # A traceback's texts may quote the prompt; its places don't.
            logger.error("the engine failed", extra={"trace": trace_without_texts(error)})
            detail = type(error).__name__
        self._conclude(detail)
        if self._sink is not None:
            logger.debug("%d pieces took the short way", self._sink.short_pieces)

    def cancel(self, reason: str) -> None:
        """Tell the engine that the client is gone; cut the call off if it doesn't listen."""
        if self._cancel_reason is not None:
            return
        self._cancel_reason = reason
        self._engine.count_partial(self.engine_id, self.meter)
        self._gone.set()
        if self._task is not None:
            asyncio.get_running_loop().call_later(ABORT_GRACE_S, self._task.cancel)

    def _accepted(self) -> None:
        self._emit(
            Accepted(request_id=self.submit.request_id, attempt=self.submit.attempt, index=self._take_index())
        )

    def _take_index(self) -> int:
        index = self._index
        self._index += 1
        return index

    async def _receive(self) -> Message:
        if not self._body_taken:
            self._body_taken = True
            return {"type": "http.request", "body": self.submit.body, "more_body": False}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
        elif message["type"] == "http.response.body":
            self._take_body(message.get("body", b""))

    def _take_body(self, data: bytes) -> None:
        if not data or self._cancel_reason is not None:
            return
        if not (self.submit.streamed and self._status == 200):
            self._body += data
        elif data.startswith(ERROR_EVENT):
            self._error = data
        elif self._error is None:
            self._emit_delta(data)
            if self._sink is not None:
                self._sink.seen(data)

    def _emit_delta(self, data: bytes) -> None:
        if self._cancel_reason is None:
            self._has_sent = True
            submit = self.submit
            self._emit(
                Delta(
                    request_id=submit.request_id, attempt=submit.attempt, index=self._take_index(), data=data
                )
            )

    def _conclude(self, detail: str) -> None:
        stopped = self._cancel_reason == WORKER_STOPS or (self._engine.is_dead and self._status != 200)
        if stopped and not self._has_sent:
            # Nothing has reached the client: another worker can do it all.
            self._fail(FailureKind.REFUSED, 0, self._cancel_reason or "the engine has ended")
        elif self._cancel_reason is not None:
            self.outcome = Outcome.CANCELLED
            self._fail(FailureKind.CANCELLED, 0, self._cancel_reason)
        elif detail:
            self._fail(FailureKind.ENGINE, 500, detail)
        elif self._error is not None:
            self._fail_with_event(self._error[len(EVENT) :].decode(errors="replace").strip())
        elif self._status == 200 and len(self._body) > MAX_ANSWER_BYTES:
            size = {"answer_bytes": len(self._body), "limit_bytes": MAX_ANSWER_BYTES}
            self._fail(FailureKind.REQUEST, TOO_LARGE, json.dumps({"error": size}))
        elif self._status == 200:
            self.outcome = Outcome.COMPLETED
            self._emit(self._finished())
        else:
            self._fail_with_answer()

    def _finished(self) -> Finished:
        return Finished(
            request_id=self.submit.request_id,
            attempt=self.submit.attempt,
            index=self._take_index(),
            data=bytes(self._body),
            meter=self.meter.reading(),
        )

    def _fail_with_event(self, body: str) -> None:
        """The engine has said 200 and then no; while nothing has been sent, its no is the whole answer."""
        code = error_code(body)
        if 400 <= code < 500 and not self._has_sent:
            self._fail(FailureKind.REQUEST, code, body)
        else:
            self._fail(FailureKind.ENGINE, 500, body)

    def _fail_with_answer(self) -> None:
        kind = FailureKind.REQUEST if 400 <= self._status < 500 else FailureKind.ENGINE
        if self._status in (502, 503, 504):
            kind = FailureKind.UPSTREAM
        self._fail(kind, self._status, bytes(self._body).decode(errors="replace"))

    def _fail(self, kind: FailureKind, status: int, detail: str) -> None:
        self._emit(
            Failed(
                request_id=self.submit.request_id,
                attempt=self.submit.attempt,
                index=self._take_index(),
                kind=kind,
                status=status,
                detail=detail[:MAX_DETAIL],
                meter=self.meter.reading(),
            )
        )


def error_code(body: str) -> int:
    """The status in an engine's error event, 0 if there is none."""
    try:
        code = json.loads(body)["error"]["code"]
    except (ValueError, TypeError, KeyError):
        return 0
    return code if isinstance(code, int) else 0


def refusal(submit: Submit, kind: FailureKind, why: str) -> Failed:
    """The answer to a Submit that is not taken."""
    return Failed(
        request_id=submit.request_id,
        attempt=submit.attempt,
        index=0,
        kind=kind,
        status=0,
        detail=why,
        meter=Meter(),
    )
