"""``/v1/responses/{id}``: retrieve a stored response, its events or its input; cancel or delete it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from api.gateway.http.answer import Answer
from api.gateway.http.disconnect import Receive
from api.gateway.http.exchange import Exchange
from api.gateway.http.query_parameters import parse_flag, parse_integer, parse_query
from api.gateway.http.url_table import QueryParameters
from api.gateway.stages.authenticate import FindPrincipal
from api.gateway.stages.authorize import authorize
from api.gateway.stages.capacity import Capacity
from api.gateway.state.stored_responses import ResponseStore, response_not_found
from api.gateway.streams.event_log import EventLogs
from api.gateway.streams.log_readers import STARTING_AFTER, STARTING_AFTER_QUERY, LogReaders, starting_point
from api.openai.errors.base import printable
from api.openai.errors.parameters import InvalidValue, UnsupportedValue
from api.openai.errors.resources import ResponseNotCancellable
from api.openai.validation.rules import NO_OBFUSCATION

DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE = 20, 100
OBFUSCATION = "include_obfuscation"
RETRIEVE_QUERY: QueryParameters = {
    "stream": {"type": "boolean"},
    **STARTING_AFTER_QUERY,
    OBFUSCATION: {"const": False},
}
PAGE_QUERY: QueryParameters = {
    "limit": {"type": "integer", "minimum": 1, "maximum": MAX_PAGE_SIZE, "default": DEFAULT_PAGE_SIZE},
    "order": {"enum": ["asc", "desc"], "default": "desc"},
    "after": {"type": "string"},
}


@dataclass(frozen=True, slots=True)
class StoredResponseEndpoints:
    """Endpoints of stored responses; each tenant finds only its own."""

    store: ResponseStore
    logs: EventLogs
    log_readers: LogReaders
    capacity: Capacity
    find_principal: FindPrincipal

    async def retrieve(self, exchange: Exchange, receive: Receive, answer: Answer) -> None:
        """``GET``: the current response or, with ``stream=true``, its events from any number on."""
        query = await self._authorize(exchange)
        if parse_flag(query, OBFUSCATION):
            raise UnsupportedValue(param=OBFUSCATION, value="true", reason=NO_OBFUSCATION)
        if parse_flag(query, "stream"):
            await self._send_events(exchange, query, receive, answer)
            return
        if STARTING_AFTER in query:
            raise InvalidValue(param=STARTING_AFTER, reason="it is only allowed with 'stream=true'")
        response = await self.store.find(exchange.path_values["id"], exchange.tenant_id)
        await self._send_json(response.body, exchange, answer)

    async def delete(self, exchange: Exchange, _: Receive, answer: Answer) -> None:
        """``DELETE``: delete the response, and cancel it if it is in progress."""
        await self._authorize(exchange)
        response_id, tenant_id = exchange.path_values["id"], exchange.tenant_id
        if not await self.store.delete(response_id, tenant_id):
            raise response_not_found(response_id)
        if log := await self.logs.find(response_id, tenant_id):
            await self.logs.delete(log.log_id, tenant_id)
        body = {"id": response_id, "object": "response", "deleted": True}
        await answer.json(json.dumps(body).encode())

    async def cancel(self, exchange: Exchange, _: Receive, answer: Answer) -> None:
        """``POST …/cancel``: cancel a background response, whichever gateway runs it."""
        await self._authorize(exchange)
        tenant_id = exchange.tenant_id
        response = await self.store.find(exchange.path_values["id"], tenant_id)
        if not response.background:
            raise ResponseNotCancellable()
        log = await self.logs.find(response.id, tenant_id) if response.is_open else None
        if log is not None:
            await self.logs.cancel(log)
            response = await self.store.find(response.id, tenant_id)
        await self._send_json(response.body, exchange, answer)

    async def input_items(self, exchange: Exchange, _: Receive, answer: Answer) -> None:
        """``GET …/input_items``: a page of the response's input items."""
        query = await self._authorize(exchange)
        items = await self.store.input_items(exchange.path_values["id"], exchange.tenant_id)
        await self._send_json(json.dumps(_page(items, query)), exchange, answer)

    async def _send_json(self, body: str, exchange: Exchange, answer: Answer) -> None:
        """Send a body, accounted for until the client has received it. Raises Overloaded."""
        with self.capacity.bodies.account(exchange.tenant_id) as grow:
            grow(len(body))
            await answer.json(body.encode())

    async def _send_events(
        self, exchange: Exchange, query: dict[str, str], receive: Receive, answer: Answer
    ) -> None:
        response_id, tenant_id = exchange.path_values["id"], exchange.tenant_id
        log = await self.logs.find(response_id, tenant_id)
        if log is None:
            await self.store.find(response_id, tenant_id)
            raise InvalidValue(param="stream", reason="the events of this response are no longer stored")
        exchange.streamed = True
        after = starting_point(exchange, query, log)
        await self.log_readers.read(log, exchange, after, receive, answer)

    async def _authorize(self, exchange: Exchange) -> dict[str, str]:
        await authorize(exchange, self.find_principal)
        return parse_query(exchange)


def _page(items: list[dict[str, Any]], query: dict[str, str]) -> dict[str, Any]:
    order = query.get("order", "desc")
    if order not in ("asc", "desc"):
        raise InvalidValue(param="order", reason="expected asc or desc")
    limit_text = query.get("limit", str(DEFAULT_PAGE_SIZE))
    limit = parse_integer("limit", limit_text, minimum=1, maximum=MAX_PAGE_SIZE)
    sorted_items = items if order == "asc" else items[::-1]
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
