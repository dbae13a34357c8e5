"""``/v1/streams/{id}``: come back for an answer, cancel it, forget it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from api.gateway.http.answer import Answer
from api.gateway.http.disconnect import Receive
from api.gateway.http.exchange import Exchange
from api.gateway.http.query_parameters import query_of
from api.gateway.stages.authenticate import FindPrincipal
from api.gateway.stages.authorize import authorize
from api.gateway.streams.event_log import EventLogs, Log, State
from api.gateway.streams.log_readers import LogReaders, starting_point
from api.openai.errors.base import printable
from api.openai.errors.resources import StreamNotFound

SHOWN_STATES: Mapping[State, str] = {
    State.RUNNING: "in_progress",
    State.COMPLETED: "completed",
    State.FAILED: "failed",
    State.CANCELLED: "cancelled",
    State.LOST: "failed",
}


@dataclass(frozen=True, slots=True)
class Streams:
    """The streams that outlive their connection, of whichever gateway process."""

    logs: EventLogs
    followers: LogReaders
    find_principal: FindPrincipal

    async def follow(self, exchange: Exchange, receive: Receive, answer: Answer) -> None:
        """``GET``: the events from any number on, and those to come."""
        log, query = await self._asked_for(exchange)
        exchange.streamed = True
        after = starting_point(exchange, query, log)
        await self.followers.again(log, exchange, after, receive, answer)

    async def cancel(self, exchange: Exchange, answer: Answer) -> None:
        """``POST …/cancel``: end it, wherever it runs; one that has ended stays as it is."""
        log, _ = await self._asked_for(exchange)
        await answer.json(_object(await self.logs.cancel(log) or log))

    async def delete(self, exchange: Exchange, answer: Answer) -> None:
        """``DELETE``: cancel and forget it."""
        log, _ = await self._asked_for(exchange)
        await self.logs.delete(log.log_id, log.tenant_id)
        gone = {"id": log.log_id, "object": "stream.deleted", "deleted": True}
        await answer.json(json.dumps(gone).encode())

    async def _asked_for(self, exchange: Exchange) -> tuple[Log, dict[str, str]]:
        principal = await authorize(exchange, self.find_principal)
        query = query_of(exchange)
        stream_id = exchange.values["id"]
        log = await self.logs.find(stream_id, str(principal.tenant_id))
        if log is None:
            raise StreamNotFound(id=printable(stream_id))
        return log, query


def _object(log: Log) -> bytes:
    status = SHOWN_STATES[log.state]
    return json.dumps({"id": log.log_id, "object": "stream", "status": status}).encode()
