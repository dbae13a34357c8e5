"""``/v1/responses/{id}``: retrieve a stored response, its events or its input; cancel or delete it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from api.gateway.capacity.process_capacity import Capacity
from api.gateway.http.disconnect import Receive
from api.gateway.http.exchange import Exchange
from api.gateway.http.query_parameters import Query
from api.gateway.http.response_sender import ResponseSender
from api.gateway.http.url_table import QueryParameters
from api.gateway.state.stored_responses import ResponseStore, response_not_found
from api.gateway.streams.event_logs.event_log import EventLogs
from api.gateway.streams.event_logs.log_readers import (
    STARTING_AFTER,
    STARTING_AFTER_QUERY,
    LogReaders,
    starting_point,
)
from api.openai.errors.base import printable
from api.openai.errors.parameters import InvalidValue
from api.openai.errors.streams import ResponseNotCancellable
from api.openai.responses.schemas.parameters import INCLUDABLE

DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE = 20, 100
INCLUDE_QUERY: QueryParameters = {
    "include": {"type": "array", "items": {"type": "string", "enum": list(INCLUDABLE)}}
}
RETRIEVE_QUERY: QueryParameters = {
    "stream": {"type": "boolean"},
    **STARTING_AFTER_QUERY,
    "include_obfuscation": {"type": "boolean"},  # without effect: events are not padded
    **INCLUDE_QUERY,
}
PAGE_QUERY: QueryParameters = {
    "limit": {"type": "integer", "minimum": 1, "maximum": MAX_PAGE_SIZE, "default": DEFAULT_PAGE_SIZE},
    "order": {"enum": ["asc", "desc"], "default": "desc"},
    "after": {"type": "string"},
    **INCLUDE_QUERY,
}


@dataclass(frozen=True, slots=True)
class StoredResponseEndpoints:
    """Endpoints of stored responses; each tenant finds only its own."""

    store: ResponseStore
    logs: EventLogs
    log_readers: LogReaders
    capacity: Capacity

    async def retrieve(self, exchange: Exchange, receive: Receive, sender: ResponseSender) -> None:
        """``GET``: the current response or, with ``stream=true``, its events from any number on."""
        if exchange.query["stream"]:
            await self._send_events(exchange, receive, sender)
            return
        if STARTING_AFTER in exchange.query:
            raise InvalidValue(param=STARTING_AFTER, reason="it is only allowed with 'stream=true'")
        response = await self.store.find(exchange.path_values["id"], exchange.tenant_id)
        await self._send_json(response.body, exchange, sender)

    async def delete(self, exchange: Exchange, _: Receive, sender: ResponseSender) -> None:
        """``DELETE``: delete the response, and cancel it if it is in progress."""
        response_id, tenant_id = exchange.path_values["id"], exchange.tenant_id
        if not await self.store.delete(response_id, tenant_id):
            raise response_not_found(response_id)
        if log := await self.logs.find(response_id, tenant_id):
            await self.logs.delete(log.log_id, tenant_id)
        body = {"id": response_id, "object": "response", "deleted": True}
        await sender.json(json.dumps(body).encode())

    async def cancel(self, exchange: Exchange, _: Receive, sender: ResponseSender) -> None:
        """``POST …/cancel``: cancel a background response, whichever gateway runs it."""
        tenant_id = exchange.tenant_id
        response = await self.store.find(exchange.path_values["id"], tenant_id)
        if not response.background:
            raise ResponseNotCancellable()
        log = await self.logs.find(response.id, tenant_id) if response.is_open else None
        if log is not None:
            await self.logs.cancel(log)
            response = await self.store.find(response.id, tenant_id)
        await self._send_json(response.body, exchange, sender)

    async def input_items(self, exchange: Exchange, _: Receive, sender: ResponseSender) -> None:
        """``GET …/input_items``: a page of the response's input items."""
        items = await self.store.input_items(exchange.path_values["id"], exchange.tenant_id)
        await self._send_json(json.dumps(_page(items, exchange.query)), exchange, sender)

    async def _send_json(self, body: str, exchange: Exchange, sender: ResponseSender) -> None:
        """Send a body, accounted for until the client has received it. Raises Overloaded."""
        data = body.encode()
        with self.capacity.bodies.hold(exchange.tenant_id, len(data)):
            await sender.json(data)

    async def _send_events(self, exchange: Exchange, receive: Receive, sender: ResponseSender) -> None:
        response_id, tenant_id = exchange.path_values["id"], exchange.tenant_id
        log = await self.logs.find(response_id, tenant_id)
        if log is None:
            await self.store.find(response_id, tenant_id)
            raise InvalidValue(param="stream", reason="the events of this response are no longer stored")
        exchange.is_streamed = True
        after = starting_point(exchange, log.next_number)
        await self.log_readers.read(log, exchange, after, receive, sender)


def _page(items: list[dict[str, Any]], query: Query) -> dict[str, Any]:
    limit: int = query["limit"]
    sorted_items = items if query["order"] == "asc" else items[::-1]
    rest = sorted_items[_position_after(sorted_items, query["after"]) :] if "after" in query else sorted_items
    data = rest[:limit]
    return {
        "object": "list",
        "data": data,
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
        "has_more": len(rest) > limit,
    }


def _position_after(items: list[dict[str, Any]], item_id: str) -> int:
    for position, item in enumerate(items):
        if item["id"] == item_id:
            return position + 1
    raise InvalidValue(param="after", reason=f"there is no item '{printable(item_id)}'")
