"""Requests that outlive their connection: tasks of this process, each settled exactly once."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from api.gateway.http.exchange import Exchange
from api.gateway.periodic import PeriodicTask
from api.gateway.stages.capacity import RequestSlots, TenantSlots
from api.gateway.stages.limits import Limits
from api.gateway.stages.settle import RequestRecorder
from api.gateway.streams.event_log import EventLogs, Kind, State, state_of
from api.gateway.streams.log_writer import CLOSE_TIMEOUT_S, LogWriter
from api.gateway.streams.translators import Translator
from api.openai.errors.base import ApiError
from api.openai.errors.resources import RequestCancelled, TooManyStreams
from api.openai.errors.service import CoordinationUnavailable, GatewayStopping, InternalError
from inference_worker.telemetry.lines import trace_without_texts

logger = logging.getLogger("cyllm.gateway.detached")

KEEP_INTERVAL_S = 1.0
END_TIMEOUT_S = CLOSE_TIMEOUT_S + 1.0  # an end that is being written is waited for before another is
Work = Callable[[], Awaitable[None]]


@dataclass(slots=True)
class DetachedRequest:
    """One detached request. ``stop_reason`` is set once it is being ended early."""

    sink: LogWriter
    task: asyncio.Task[None] | None = None
    begun: bool = False
    stop_reason: ApiError | None = None

    def stop(self, reason: ApiError) -> None:
        """End it early; the first reason counts, and its end isn't disturbed by a second."""
        if self.stop_reason is None and self.task is not None:
            self.stop_reason = reason
            # A task that is cancelled before its first step would settle nothing.
            if self.begun:
                self.task.cancel()


class DetachedRequests:
    """The jobs of this process."""

    def __init__(self, logs: EventLogs, recorder: RequestRecorder, limits: Limits) -> None:
        self._logs, self._recorder, self._limits = logs, recorder, limits
        self._places = RequestSlots(limits.detached_max)
        self._tenants = TenantSlots(limits.detached_per_tenant)
        self._jobs: dict[str, DetachedRequest] = {}
        self._unclosed: dict[str, tuple[str, ApiError]] = {}
        self._keeping = PeriodicTask("detached-keep", self._keep, KEEP_INTERVAL_S)

    @property
    def running(self) -> int:
        """Jobs that have not ended."""
        return len(self._jobs)

    async def start(self) -> None:
        """Begin to look after jobs."""
        self._keeping.start()

    async def stop(self) -> None:
        """Let jobs end by themselves for a while, then end them with an error event each."""
        tasks = {job.task for job in self._jobs.values() if job.task is not None}
        if tasks:
            logger.info("%d detached requests have %g s to end", len(tasks), self._limits.detached_grace_s)
            await asyncio.wait(tasks, timeout=self._limits.detached_grace_s)
        for job in list(self._jobs.values()):
            job.stop(GatewayStopping())
        if tasks:
            await asyncio.wait(tasks, timeout=END_TIMEOUT_S)
        await self._keeping.stop()

    async def begin(self, log_id: str, kind: Kind, translator: Translator, exchange: Exchange) -> LogWriter:
        """Take the places that a job needs besides that of every request, and make its log.

        The sink's exchange is that of the job, with all that the request holds. Raises ApiError.
        """
        tenant_id = exchange.caller
        try:
            exchange.held.enter_context(self._tenants.take(tenant_id))
        except ApiError:
            raise TooManyStreams(limit=self._limits.detached_per_tenant) from None
        exchange.held.enter_context(self._places.take())
        await self._create(log_id, tenant_id, kind)
        return LogWriter(self._logs, log_id, kind, translator, exchange.handed_over())

    async def _create(self, log_id: str, tenant_id: str, kind: Kind) -> None:
        try:
            await self._logs.create(log_id, tenant_id, kind)
        except CoordinationUnavailable as error:
            # Redis may have created it all the same: without an end it would count as running.
            if len(self._unclosed) < self._limits.detached_max:
                self._unclosed[log_id] = (tenant_id, error)
            raise

    def run(self, sink: LogWriter, work: Work) -> DetachedRequest:
        """Start a job; whatever its end is, it then gives back what it holds, and is recorded."""
        job = DetachedRequest(sink)
        self._jobs[sink.log_id] = job
        job.task = asyncio.create_task(self._run(job, work), name=f"detached {sink.log_id}")
        return job

    def cancel(self, log_id: str) -> None:
        """End a job of this process; other ids are ignored."""
        if (job := self._jobs.get(log_id)) is not None:
            job.stop(RequestCancelled())

    async def _run(self, job: DetachedRequest, work: Work) -> None:
        job.begun = True
        try:
            if job.stop_reason is not None:
                raise asyncio.CancelledError
            await work()
            job.sink.exchange.completed()
        except ApiError as error:
            await self._fail(job, error)
        except asyncio.CancelledError:
            await self._fail(job, job.stop_reason or GatewayStopping())
        except Exception as error:
            logger.error("a detached request failed", extra={"trace": trace_without_texts(error)})
            await self._fail(job, InternalError())
        finally:
            self._jobs.pop(job.sink.log_id, None)
            job.sink.exchange.held.close()
            self._recorder.ended(job.sink.exchange)

    async def _fail(self, job: DetachedRequest, error: ApiError) -> None:
        job.stop_reason = job.stop_reason or error
        try:
            await job.sink.fail(error)
        except ApiError:
            self._unclosed[job.sink.log_id] = (job.sink.tenant_id, error)
        if job.sink.end is State.COMPLETED:
            job.sink.exchange.completed()
        else:
            job.sink.exchange.failed(error)

    async def _keep(self) -> None:
        """See to what a lost message would leave behind: cancels not heard of, logs without an end."""
        # Redis is away: whoever notices it says so, and there is a next turn.
        with contextlib.suppress(ApiError):
            await self._look()

    async def _look(self) -> None:
        for log_id, job in list(self._jobs.items()):
            log = await self._logs.find(log_id, job.sink.tenant_id)
            if log is None or log.cancelled:
                job.stop(RequestCancelled())
        for log_id, (tenant_id, error) in list(self._unclosed.items()):
            if log := await self._logs.find(log_id, tenant_id):
                await self._logs.close_with(log, error, state_of(error))
            self._unclosed.pop(log_id, None)
