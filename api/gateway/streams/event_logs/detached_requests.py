"""Detached requests: tasks of this process that outlive their client, each settled exactly once."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from api.gateway.capacity.slots import Slots, TenantSlots
from api.gateway.http.exchange import Exchange
from api.gateway.periodic import PeriodicTask
from api.gateway.settings import Limits
from api.gateway.stages.recording.record_end import RequestRecorder
from api.gateway.streams.event_logs.event_log import EventLogs, LogState, state_after
from api.gateway.streams.event_logs.log_writer import CLOSE_TIMEOUT_S, LogWriter
from api.gateway.streams.output.closing_events import LogKind
from api.gateway.streams.output.translators import Translator
from api.openai.errors.base import ApiError
from api.openai.errors.service import GatewayStopping, InternalError, Overloaded, RedisUnavailable
from api.openai.errors.streams import RequestCancelled, TooManyStreams
from inference_worker.telemetry.masking import trace_without_messages

logger = logging.getLogger("cyllm.gateway.detached")

CHECK_INTERVAL_S = 1.0
END_TIMEOUT_S = CLOSE_TIMEOUT_S + 1.0  # a write in progress completes before the error event
Work = Callable[[], Awaitable[None]]


@dataclass(slots=True)
class DetachedRequest:
    """One detached request. ``stop_reason`` is set when it is ended early."""

    writer: LogWriter
    task: asyncio.Task[None] | None = None
    has_started: bool = False
    stop_reason: ApiError | None = None

    def stop(self, reason: ApiError) -> None:
        """End the request early. Only the first call has an effect."""
        if self.stop_reason is None and self.task is not None:
            self.stop_reason = reason
            # A task that is cancelled before its first step would never settle the request.
            if self.has_started:
                self.task.cancel()


class DetachedRequests:
    """The detached requests of this process."""

    def __init__(self, logs: EventLogs, recorder: RequestRecorder, limits: Limits) -> None:
        self._logs, self._recorder, self._limits = logs, recorder, limits
        self._slots = Slots(limits.detached_max)
        self._tenant_slots = TenantSlots(limits.detached_per_tenant)
        self._requests: dict[str, DetachedRequest] = {}
        # Logs that could not be ended while Redis was unavailable: tenant and error by log id.
        self._logs_to_close: dict[str, tuple[str, ApiError]] = {}
        self._checks = PeriodicTask("detached-check", self._check, CHECK_INTERVAL_S)

    @property
    def open_count(self) -> int:
        """The number of requests that have not ended."""
        return len(self._requests)

    async def start(self) -> None:
        """Start the periodic checks."""
        await self._checks.start()

    async def stop(self) -> None:
        """Wait for requests to end, at most the grace time, then end the others with an error event each."""
        tasks = {request.task for request in self._requests.values() if request.task is not None}
        if tasks:
            logger.info("%d detached requests have %g s to end", len(tasks), self._limits.detached_grace_s)
            await asyncio.wait(tasks, timeout=self._limits.detached_grace_s)
        for request in list(self._requests.values()):
            request.stop(GatewayStopping())
        if tasks:
            await asyncio.wait(tasks, timeout=END_TIMEOUT_S)
        await self._checks.stop()

    async def open_log(
        self, log_id: str, kind: LogKind, translator: Translator, exchange: Exchange
    ) -> LogWriter:
        """Occupy the slots of a detached request, create its log and return the writer.

        The writer's exchange replaces ``exchange`` and owns its resources. Raises ApiError.
        """
        tenant_id = exchange.tenant_id
        try:
            exchange.resources.enter_context(self._tenant_slots.slot(tenant_id))
        except Overloaded:
            raise TooManyStreams(limit=self._limits.detached_per_tenant) from None
        exchange.resources.enter_context(self._slots.slot())
        await self._create_log(log_id, tenant_id, kind)
        return LogWriter(self._logs, log_id, kind, translator, exchange.hand_over())

    def run(self, writer: LogWriter, work: Work) -> DetachedRequest:
        """Start a request. However it ends, it releases its resources and is recorded."""
        request = DetachedRequest(writer)
        self._requests[writer.log_id] = request
        request.task = asyncio.create_task(self._run(request, work), name=f"detached {writer.log_id}")
        return request

    def cancel(self, log_id: str) -> None:
        """Cancel a request of this process; other ids are ignored."""
        if (request := self._requests.get(log_id)) is not None:
            request.stop(RequestCancelled())

    async def _create_log(self, log_id: str, tenant_id: str, kind: LogKind) -> None:
        try:
            await self._logs.create(log_id, tenant_id, kind)
        except RedisUnavailable as error:
            # Redis may have created the log nonetheless; without an end it would count as running.
            if len(self._logs_to_close) < self._limits.detached_max:
                self._logs_to_close[log_id] = (tenant_id, error)
            raise

    async def _run(self, request: DetachedRequest, work: Work) -> None:
        request.has_started = True
        exchange = request.writer.exchange
        try:
            if request.stop_reason is not None:
                raise asyncio.CancelledError
            await work()
            exchange.complete()
        except ApiError as error:
            await self._fail(request, error)
        except asyncio.CancelledError:
            await self._fail(request, request.stop_reason or GatewayStopping())
        except Exception as error:
            logger.error("a detached request failed", extra={"trace": trace_without_messages(error)})
            await self._fail(request, InternalError())
        finally:
            self._requests.pop(request.writer.log_id, None)
            exchange.resources.close()
            self._recorder.record_end(exchange)

    async def _fail(self, request: DetachedRequest, error: ApiError) -> None:
        request.stop_reason = request.stop_reason or error
        writer = request.writer
        try:
            await writer.fail(error)
        except ApiError:
            # Needs no bound: while Redis is unavailable, no request starts that could fail like this one.
            self._logs_to_close[writer.log_id] = (writer.tenant_id, error)
        if writer.final_state is LogState.COMPLETED:
            writer.exchange.complete()
        else:
            writer.exchange.fail(error)

    async def _check(self) -> None:
        """Repair the effects of lost messages: missed cancellations, and logs without an end."""
        # If Redis is unavailable, the next check retries.
        with contextlib.suppress(ApiError):
            await self._stop_cancelled()
            await self._close_logs()

    async def _stop_cancelled(self) -> None:
        for log_id, request in list(self._requests.items()):
            log = await self._logs.find(log_id, request.writer.tenant_id)
            if log is None or log.is_cancelled:
                request.stop(RequestCancelled())

    async def _close_logs(self) -> None:
        for log_id, (tenant_id, error) in list(self._logs_to_close.items()):
            if log := await self._logs.find(log_id, tenant_id):
                await self._logs.close_with(log, error, state_after(error))
            self._logs_to_close.pop(log_id, None)
