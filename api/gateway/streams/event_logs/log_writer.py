"""The log writer: appends output from the relay to an event log, and tracks what has been written."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from typing import Any

from typing_extensions import override

from api.gateway.http.exchange import Exchange
from api.gateway.stages.relay.output_writer import OutputWriter
from api.gateway.streams.event_logs.event_log import EventLogs, LogState, state_after
from api.gateway.streams.output.closing_events import LogKind
from api.gateway.streams.output.translators import Translator
from api.openai.errors.base import ApiError
from api.openai.errors.streams import RequestCancelled
from inference_worker.telemetry.masking import trace_without_messages

logger = logging.getLogger("cyllm.gateway.detached")

CLOSE_TIMEOUT_S = 7.0  # to store a response and write its last events


class LogWriter(OutputWriter):
    """The only writer of a log. ``first_event`` fails if an error precedes the first event."""

    def __init__(
        self, logs: EventLogs, log_id: str, kind: LogKind, translator: Translator, exchange: Exchange
    ) -> None:
        self.log_id = log_id
        self.kind = kind
        self.has_data = False
        self.final_state: LogState | None = None
        self.first_event: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.exchange = exchange
        self.tenant_id = exchange.tenant_id
        self._logs, self._translator = logs, translator
        self._next_number = 0
        self._current_write: asyncio.Task[None] | None = None

    @override
    async def comment(self) -> None:
        # The client may receive its head now; log readers send comments themselves.
        self._mark_started()

    @override
    async def data(self, events: bytes) -> None:
        """Translate and append events. Raises ApiError, RequestCancelled among others."""
        self.has_data = True
        await self.write(self._translator.translate(events))

    @override
    async def finish(self) -> None:
        """Complete the log. Raises ApiError.

        Not interrupted by cancellation: a response that may already be stored can't be cancelled any more.
        """
        await self._uninterrupted(self._finish())

    @override
    def restart(self) -> None:
        """Do nothing: no data has been written."""

    @override
    async def json(self, body: bytes) -> None:
        raise TypeError(f"expected a stream for the log, got a document of {len(body)} bytes")

    async def fail(self, error: ApiError) -> None:
        """End the log with the error, unless it has ended. Raises RedisUnavailable."""
        if not self.first_event.done():
            self.first_event.set_exception(error)
            self.first_event.exception()  # mark as retrieved: the client may have disconnected
        state = state_after(error)
        if await self._has_ended():
            return
        try:
            await self.write(await self._translator.fail(error), state)
            return
        except ApiError:
            logger.warning("can't write the last events of %s, writing an error event instead", self.log_id)
        except Exception as failure:
            logger.error("ending a request failed", extra={"trace": trace_without_messages(failure)})
        # The failed write may have reached Redis nonetheless, so read the current state.
        if log := await self._logs.find(self.log_id, self.tenant_id):
            await self._logs.close_with(log, error, state)

    async def write(self, events: Sequence[bytes], final_state: LogState | None = None) -> None:
        """Append events. A write in progress completes, and is accounted for, despite cancellation."""
        if events:
            await self._uninterrupted(self._append(events, final_state))

    async def _uninterrupted(self, write: Coroutine[Any, Any, None]) -> None:
        self._current_write = asyncio.ensure_future(write)
        await asyncio.shield(self._current_write)

    async def _finish(self) -> None:
        await self._append(await self._translator.finish(), LogState.COMPLETED)

    async def _append(self, events: Sequence[bytes], final_state: LogState | None) -> None:
        is_cancelled = await self._logs.append(
            self.log_id, self.tenant_id, self._next_number, events, final_state
        )
        self._next_number += len(events)
        self.final_state = final_state
        self._mark_started()
        if is_cancelled and final_state is None:
            raise RequestCancelled()

    def _mark_started(self) -> None:
        if not self.first_event.done():
            self.exchange.status = 200
            self.first_event.set_result(None)

    async def _has_ended(self) -> bool:
        """Wait for the write in progress, and return whether it ended the log."""
        write = self._current_write
        if write is not None and not write.done():
            await asyncio.wait([write], timeout=CLOSE_TIMEOUT_S)
        if write is not None and write.done() and not write.cancelled():
            write.exception()
        return self.final_state is not None
