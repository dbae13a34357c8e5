"""Asynchronous access to stored responses, with a retry of final states that could not be stored."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from api.gateway.capacity.tenant_semaphore import TenantSemaphore
from api.gateway.http.exchange import Exchange
from api.gateway.settings import Limits
from api.gateway.state.database import THREADS, Database
from api.openai.errors.base import ApiError, printable
from api.openai.errors.parameters import InvalidValue
from api.openai.errors.streams import PreviousResponseNotFound, ResponseNotFound
from api.openai.responses.input_items import ITEM_REFERENCE
from api.openai.responses.response_plan import ResponsePlan
from api.stored_responses import selectors, services
from api.stored_responses.models import ResponseStatus, is_item_id
from api.stored_responses.selectors import StoredResponseRow, Turn

T = TypeVar("T")
MAX_TURNS = 256
CONTINUABLE_STATUSES = frozenset({ResponseStatus.COMPLETED, ResponseStatus.INCOMPLETE})
PREVIOUS = "previous_response_id"
_ID = re.compile(r"resp_[0-9a-f]{1,59}", re.ASCII)


@dataclass(frozen=True, slots=True)
class History:
    """The items of a chain of responses, oldest first, and the size of their JSON in bytes."""

    items: Sequence[Mapping[str, Any]] = ()
    size_bytes: int = 0


@dataclass(frozen=True, slots=True)
class ResponseStore:
    """Stores and finds responses. Every method raises DatabaseUnavailable.

    Conversations can be large, so ``semaphore`` bounds the database threads that one tenant occupies.
    ``pending_updates``: final states that could not be stored yet, by response id.
    """

    database: Database
    gateway_id: str
    limits: Limits
    semaphore: TenantSemaphore = field(default_factory=lambda: TenantSemaphore(THREADS // 2))
    pending_updates: dict[str, Mapping[str, Any]] = field(default_factory=dict)

    async def create(self, plan: ResponsePlan, exchange: Exchange, body: Mapping[str, Any]) -> None:
        """Insert a response."""
        created_at = dt.datetime.fromtimestamp(exchange.started_at, dt.UTC)
        response = services.NewResponse(
            id=body["id"],
            tenant_id=exchange.tenant_id,
            model=exchange.model or "",
            body=body,
            input_items=plan.input,
            previous_response_id=plan.previous_response_id,
            background=plan.is_background,
            gateway_id=self.gateway_id,
            created_at=created_at,
            expires_at=created_at + dt.timedelta(days=self.limits.response_keep_days),
        )
        await self._call(exchange.tenant_id, services.response_create, response)

    async def update(self, body: Mapping[str, Any]) -> None:
        """Store the current state, unless the response was deleted. A failed or cancelled one is retried."""
        try:
            await self.database.call(services.response_update, body["id"], body)
        except ApiError:
            # A completed state is not retried: this error fails the response.
            if body["status"] in (ResponseStatus.FAILED, ResponseStatus.CANCELLED):
                self.pending_updates[body["id"]] = body
            raise

    async def retry_updates(self) -> None:
        """Store the pending final states if the database is available."""
        with contextlib.suppress(ApiError):
            for response_id, body in list(self.pending_updates.items()):
                await self.update(body)
                self.pending_updates.pop(response_id, None)

    async def delete(self, response_id: str, tenant_id: str) -> bool:
        """Delete the tenant's response, and return whether it existed."""
        return _is_valid_id(response_id) and await self._call(
            tenant_id, services.response_delete, response_id, tenant_id
        )

    async def find(self, response_id: str, tenant_id: str) -> StoredResponseRow:
        """Return the tenant's response. Raises ResponseNotFound."""
        response = None
        if _is_valid_id(response_id):
            response = await self._call(tenant_id, selectors.response_find, response_id, tenant_id)
        if response is None:
            raise response_not_found(response_id)
        return response

    async def input_items(self, response_id: str, tenant_id: str) -> list[dict[str, Any]]:
        """Return the input items of the tenant's response. Raises ResponseNotFound."""
        items = None
        if _is_valid_id(response_id):
            items = await self._call(tenant_id, selectors.response_input, response_id, tenant_id)
        if items is None:
            raise response_not_found(response_id)
        return items

    async def history(self, response_id: str, tenant_id: str) -> History:
        """Return the conversation up to a response. Raises ApiError if a part of it is no longer stored."""
        if not _is_valid_id(response_id):
            raise _previous_not_found(response_id)
        turns = await self._call(tenant_id, selectors.response_chain, response_id, tenant_id, MAX_TURNS)
        if not turns:
            raise _previous_not_found(response_id)
        self._check_turns(turns)
        items: list[Mapping[str, Any]] = []
        for turn in turns:
            items += [*json.loads(turn.input_items), *json.loads(turn.body)["output"]]
        return History(items, _size_bytes(turns))

    async def with_items(self, plan: ResponsePlan, tenant_id: str) -> tuple[ResponsePlan, int]:
        """Return the plan with the tenant's stored items in place of references, and their size in bytes.

        Raises ItemNotFound, and InvalidValue if they are larger than a body may be.
        """
        if not plan.reference_ids:
            return plan, 0
        item_ids = frozenset(filter(is_item_id, plan.reference_ids))
        items, sizes = await self._items(item_ids, tenant_id) if item_ids else ({}, {})
        # Each reference adds the whole item to the prompt, however often it is repeated.
        size = sum(sizes.get(item["id"], 0) for item in plan.input if item["type"] == ITEM_REFERENCE)
        if size > self.limits.max_body_bytes:
            raise self._references_too_large("items")
        return plan.with_items(items), size

    async def _items(
        self, item_ids: frozenset[str], tenant_id: str
    ) -> tuple[Mapping[str, dict[str, Any]], Mapping[str, int]]:
        """Return stored items and the sizes of their JSON, each by id."""
        limit = self.limits.max_body_bytes
        try:
            return await self._call(tenant_id, _sized_items, item_ids, tenant_id, limit)
        except ValueError:
            raise self._references_too_large("responses") from None

    def _references_too_large(self, kind: str) -> InvalidValue:
        reason = f"the {kind} that it refers to are larger than {self.limits.max_body_bytes} bytes"
        return InvalidValue(param="input", reason=reason)

    async def _call(self, tenant_id: str, function: Callable[..., T], *args: object) -> T:
        async with self.semaphore.acquire(tenant_id):
            return await self.database.call(function, *args)

    def _check_turns(self, turns: Sequence[Turn]) -> None:
        missing_id = turns[0].previous_response_id
        if missing_id and len(turns) < MAX_TURNS:
            raise _previous_not_found(missing_id)
        if missing_id:
            raise _cannot_continue(f"its conversation has more than {MAX_TURNS} responses")
        for turn in turns:
            if turn.status not in CONTINUABLE_STATUSES:
                raise _cannot_continue(f"the status of response '{turn.id}' is '{turn.status}'")
        if _size_bytes(turns) > self.limits.max_body_bytes:
            raise _cannot_continue(f"its conversation is larger than {self.limits.max_body_bytes} bytes")


def _sized_items(
    item_ids: frozenset[str], tenant_id: str, max_bytes: int
) -> tuple[dict[str, dict[str, Any]], dict[str, int]]:
    items = selectors.items_find(item_ids, tenant_id, max_bytes)
    return items, {item_id: len(json.dumps(item)) for item_id, item in items.items()}


def _is_valid_id(response_id: str) -> bool:
    # Postgres rejects text that contains a NUL character.
    return _ID.fullmatch(response_id) is not None


def response_not_found(response_id: str) -> ResponseNotFound:
    """Return the error for an unknown id, and for another tenant's."""
    return ResponseNotFound(response_id=printable(response_id))


def _previous_not_found(response_id: str) -> PreviousResponseNotFound:
    return PreviousResponseNotFound(response_id=printable(response_id), param=PREVIOUS)


def _cannot_continue(reason: str) -> InvalidValue:
    return InvalidValue(param=PREVIOUS, reason=reason)


def _size_bytes(turns: Sequence[Turn]) -> int:
    return sum(len(turn.input_items) + len(turn.body) for turn in turns)
