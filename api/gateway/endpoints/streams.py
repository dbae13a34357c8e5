"""``/v1/streams/{id}``: resume a stream, cancel it, delete it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from api.gateway.http.disconnect import Receive
from api.gateway.http.exchange import Exchange
from api.gateway.http.response_sender import ResponseSender
from api.gateway.streams.event_logs.event_log import EventLogs, Log, LogState
from api.gateway.streams.event_logs.log_readers import LogReaders, starting_point
from api.openai.errors.base import printable
from api.openai.errors.streams import StreamNotFound

PUBLIC_STATUS: Mapping[LogState, str] = {
    LogState.RUNNING: "in_progress",
    LogState.COMPLETED: "completed",
    LogState.FAILED: "failed",
    LogState.CANCELLED: "cancelled",
    LogState.LOST: "failed",
}


@dataclass(frozen=True, slots=True)
class StreamEndpoints:
    """Endpoints of resumable streams, whichever gateway process runs them."""

    logs: EventLogs
    log_readers: LogReaders

    async def resume(self, exchange: Exchange, receive: Receive, sender: ResponseSender) -> None:
        """``GET``: the events from any number on, past and future."""
        log = await self._find_log(exchange)
        exchange.is_streamed = True
        after = starting_point(exchange, log.next_number)
        await self.log_readers.read(log, exchange, after, receive, sender)

    async def cancel(self, exchange: Exchange, _: Receive, sender: ResponseSender) -> None:
        """``POST …/cancel``: cancel the stream, unless it has ended."""
        log = await self._find_log(exchange)
        current = await self.logs.cancel(log) or log
        body = {"id": log.log_id, "object": "stream", "status": PUBLIC_STATUS[current.state]}
        await sender.json(json.dumps(body).encode())

    async def delete(self, exchange: Exchange, _: Receive, sender: ResponseSender) -> None:
        """``DELETE``: cancel the stream and delete its log."""
        log = await self._find_log(exchange)
        await self.logs.delete(log.log_id, log.tenant_id)
        body = {"id": log.log_id, "object": "stream.deleted", "deleted": True}
        await sender.json(json.dumps(body).encode())

    async def _find_log(self, exchange: Exchange) -> Log:
        stream_id = exchange.path_values["id"]
        log = await self.logs.find(stream_id, exchange.tenant_id)
        if log is None:
            raise StreamNotFound(id=printable(stream_id))
        return log
