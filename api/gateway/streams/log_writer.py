"""Takes an answer from the relay and writes it to a log, numbered; knows what of it has been written."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from typing import Any

from api.gateway.http.exchange import Exchange
from api.gateway.streams.event_log import EventLogs, Kind, State, state_of
from api.gateway.streams.translators import Translator
from api.openai.errors.base import ApiError
from api.openai.errors.resources import RequestCancelled
from inference_worker.telemetry.lines import trace_without_texts

logger = logging.getLogger("cyllm.gateway.detached")

CLOSE_TIMEOUT_S = 7.0  # to store an answer and to write its last events


class LogWriter:
    """The one writer of a log. ``begun`` is done with its first event, or with the error that came before."""

    def __init__(
        self, logs: EventLogs, log_id: str, kind: Kind, translator: Translator, exchange: Exchange
    ) -> None:
        self.log_id = log_id
        self.kind = kind
        self.has_data = False
        self.end: State | None = None
        self.begun: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.exchange = exchange
        self.tenant_id = exchange.caller
        self._logs, self._translator = logs, translator
        self._number = 0
        self._writing: asyncio.Task[None] | None = None

    async def comment(self) -> None:
        """The client may have its head; readers of the log make comments themselves."""
        self._begin()

    async def data(self, events: bytes) -> None:
        """Whole events of the engine, in one piece. Raises ApiError; ``request_cancelled`` among others."""
        self.has_data = True
        await self.write(self._translator.take(events))

    async def finish(self) -> None:
        """The answer is complete. Raises ApiError.

        Where this is cancelled, it goes on: what may be stored already is not cancelled any more.
        """
        await self._undisturbed(self._finish())

    def begin_again(self) -> None:
        """See ``relay.AnswerWriter``: nothing was written."""

    async def json(self, body: bytes) -> None:
        """Logs hold streams alone."""
        raise TypeError(f"an answer in one piece ({len(body)} bytes) has no log")

    async def fail(self, error: ApiError) -> None:
        """End the log with the error, unless it has ended. Raises ApiError ``redis_unavailable``."""
        if not self.begun.done():
            self.begun.set_exception(error)
            self.begun.exception()  # seen: nobody may be waiting any more
        state = state_of(error)
        if await self._settled():
            return
        try:
            await self.write(await self._translator.fail(error), state)
            return
        except ApiError:
            logger.warning("the end of %s could not be written as it should be", self.log_id)
        except Exception as fault:
            logger.error("the end of a request failed", extra={"trace": trace_without_texts(fault)})
        # What has got through is not known: Redis tells.
        if log := await self._logs.find(self.log_id, self.tenant_id):
            await self._logs.close_with(log, error, state)

    async def write(self, events: Sequence[bytes], end: State | None = None) -> None:
        """Add events. Where this is cancelled, what is on its way still arrives and is known to have."""
        if events:
            await self._undisturbed(self._append(events, end))

    async def _undisturbed(self, writing: Coroutine[Any, Any, None]) -> None:
        self._writing = asyncio.ensure_future(writing)
        await asyncio.shield(self._writing)

    async def _finish(self) -> None:
        await self._append(await self._translator.finish(), State.COMPLETED)

    async def _append(self, events: Sequence[bytes], end: State | None) -> None:
        cancelled = await self._logs.append(self.log_id, self.tenant_id, self._number, events, end)
        self._number += len(events)
        self.end = end
        self._begin()
        if cancelled and end is None:
            raise RequestCancelled()

    def _begin(self) -> None:
        if not self.begun.done():
            self.exchange.status = 200
            self.begun.set_result(None)

    async def _settled(self) -> bool:
        """Wait for what is being written; whether the log has ended with it."""
        if self._writing is not None and not self._writing.done():
            await asyncio.wait([self._writing], timeout=CLOSE_TIMEOUT_S)
        if self._writing is not None and self._writing.done() and not self._writing.cancelled():
            self._writing.exception()
        return self.end is not None
