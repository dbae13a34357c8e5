"""``/v1/responses/{id}``: a stored response again, its events, its input; cancel it, delete it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from api.gateway.http.answer import Answer
from api.gateway.http.disconnect import Receive
from api.gateway.http.exchange import Exchange
from api.gateway.http.query_parameters import flag_of, number_of, query_of
from api.gateway.stages.authenticate import FindPrincipal
from api.gateway.stages.authorize import authorize
from api.gateway.state.stored_responses import ResponseStore, response_not_found
from api.gateway.streams.event_log import EventLogs
from api.gateway.streams.log_readers import STARTING_AFTER, LogReaders, starting_point
from api.openai.errors.base import printable
from api.openai.errors.parameters import InvalidValue, UnsupportedValue
from api.openai.errors.resources import ResponseNotCancellable

DEFAULT_PAGE, LARGEST_PAGE = 20, 100
OBFUSCATION = "include_obfuscation"
RETRIEVING = ("stream", STARTING_AFTER, OBFUSCATION)
PAGING = ("limit", "order", "after")
NO_PADDING = "events are not padded, send false"


@dataclass(frozen=True, slots=True)
class StoredResponseEndpoints:
    """What there is of responses after they were asked for; each tenant finds its own."""

    store: ResponseStore
    logs: EventLogs
    followers: LogReaders
    find_principal: FindPrincipal

    async def retrieve(self, exchange: Exchange, receive: Receive, answer: Answer) -> None:
        """``GET``: the response as it is now, or with ``stream=true`` its events from any number on."""
        tenant_id, query = await self._caller(exchange)
        if flag_of(query, OBFUSCATION):
            raise UnsupportedValue(param=OBFUSCATION, value="true", reason=NO_PADDING)
        if flag_of(query, "stream"):
            await self._events(exchange, tenant_id, query, receive, answer)
            return
        if STARTING_AFTER in query:
            raise InvalidValue(param=STARTING_AFTER, reason="it is only allowed with 'stream=true'")
        found = await self.store.find(exchange.values["id"], tenant_id)
        await self._give(found.body, tenant_id, answer)

    async def delete(self, exchange: Exchange, answer: Answer) -> None:
        """``DELETE``: forget it; one that is still being made is cancelled."""
        tenant_id, _ = await self._caller(exchange)
        response_id = exchange.values["id"]
        if not await self.store.delete(response_id, tenant_id):
            raise response_not_found(response_id)
        if log := await self.logs.find(response_id, tenant_id):
            await self.logs.delete(log.log_id, tenant_id)
        gone = {"id": response_id, "object": "response", "deleted": True}
        await answer.json(json.dumps(gone).encode())

    async def cancel(self, exchange: Exchange, answer: Answer) -> None:
        """``POST …/cancel``: end one in the background, wherever it runs. One that has ended stays so."""
        tenant_id, _ = await self._caller(exchange)
        found = await self.store.find(exchange.values["id"], tenant_id)
        if not found.background:
            raise ResponseNotCancellable()
        log = await self.logs.find(found.id, tenant_id) if found.is_open else None
        if log is not None:
            await self.logs.cancel(log)
            found = await self.store.find(found.id, tenant_id)
        await self._give(found.body, tenant_id, answer)

    async def input_items(self, exchange: Exchange, answer: Answer) -> None:
        """``GET …/input_items``: what it was made of, a page at a time."""
        tenant_id, query = await self._caller(exchange)
        items = await self.store.input_items(exchange.values["id"], tenant_id)
        await self._give(json.dumps(_page(items, query)), tenant_id, answer)

    async def _give(self, body: str, tenant_id: str, answer: Answer) -> None:
        """Give a client what is held for it until it has taken it. Raises ApiError where there is no room."""
        with self.followers.bodies.account(tenant_id) as more:
            more(len(body))
            await answer.json(body.encode())

    async def _events(
        self, exchange: Exchange, tenant_id: str, query: dict[str, str], receive: Receive, answer: Answer
    ) -> None:
        response_id = exchange.values["id"]
        log = await self.logs.find(response_id, tenant_id)
        if log is None:
            await self.store.find(response_id, tenant_id)
            reason = "the events of this response are not kept, or not any more"
            raise InvalidValue(param="stream", reason=reason)
        exchange.streamed = True
        after = starting_point(exchange, query, log)
        await self.followers.again(log, exchange, after, receive, answer)

    async def _caller(self, exchange: Exchange) -> tuple[str, dict[str, str]]:
        principal = await authorize(exchange, self.find_principal)
        return str(principal.tenant_id), query_of(exchange)


def _page(items: list[dict[str, Any]], query: dict[str, str]) -> dict[str, Any]:
    order = query.get("order", "desc")
    if order not in ("asc", "desc"):
        raise InvalidValue(param="order", reason="expected asc or desc")
    limit = number_of("limit", query.get("limit", str(DEFAULT_PAGE)), least=1, most=LARGEST_PAGE)
    ordered = items if order == "asc" else items[::-1]
    rest = ordered[_position_after(ordered, query["after"]) :] if "after" in query else ordered
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
