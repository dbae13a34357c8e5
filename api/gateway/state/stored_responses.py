"""The stored responses of a gateway process, beside its event loop."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from api.gateway.http.exchange import Exchange
from api.gateway.stages.capacity import TenantSemaphore
from api.gateway.stages.limits import Limits
from api.gateway.state.database import THREADS, Database
from api.openai.errors.base import ApiError, printable
from api.openai.errors.parameters import InvalidValue
from api.openai.errors.resources import PreviousResponseNotFound, ResponseNotFound
from api.openai.responses.response_request import CheckedResponse
from api.stored_responses import selectors, services
from api.stored_responses.models import ResponseStatus
from api.stored_responses.selectors import StoredResponseRow, Turn

T = TypeVar("T")
MOST_TURNS = 256
CONTINUABLE = frozenset({ResponseStatus.COMPLETED, ResponseStatus.INCOMPLETE})
PREVIOUS = "previous_response_id"
_ID = re.compile(r"resp_[0-9a-f]{1,59}", re.ASCII)


@dataclass(frozen=True, slots=True)
class History:
    """The items of a chain of responses, oldest first, and the size of the texts that they came in."""

    items: Sequence[Mapping[str, Any]] = ()
    size: int = 0


@dataclass(frozen=True, slots=True)
class ResponseStore:
    """Every method raises ApiError ``database_unavailable``.

    Conversations can be large: ``turns`` leaves the database's threads to other tenants as well.
    ``owed``: the ends of responses that are stored as being made, where the database was away.
    """

    database: Database
    gateway_id: str
    limits: Limits
    turns: TenantSemaphore = field(default_factory=lambda: TenantSemaphore(THREADS // 2))
    owed: dict[str, Mapping[str, Any]] = field(default_factory=dict)

    async def create(self, checked: CheckedResponse, exchange: Exchange, body: Mapping[str, Any]) -> None:
        """Store a response for the first time."""
        created_at = dt.datetime.fromtimestamp(exchange.started_at, dt.UTC)
        new = services.NewResponse(
            id=body["id"],
            tenant_id=exchange.caller,
            model=exchange.model or "",
            body=body,
            input_items=checked.input,
            previous_response_id=checked.previous_response_id,
            background=checked.background,
            gateway_id=self.gateway_id,
            created_at=created_at,
            expires_at=created_at + dt.timedelta(days=self.limits.response_keep_days),
        )
        await self._call(exchange.caller, services.response_create, new)

    async def update(self, body: Mapping[str, Any]) -> None:
        """Store how far it is; one that was deleted stays so. An end that can't be stored now is owed."""
        try:
            await self.database.write(services.response_update, body["id"], body)
        except ApiError:
            # A complete one becomes a failed one by this.
            if body["status"] in (ResponseStatus.FAILED, ResponseStatus.CANCELLED):
                self.owed[body["id"]] = body
            raise

    async def update_owed(self) -> None:
        """Store the ends that are owed, if the database is there."""
        with contextlib.suppress(ApiError):
            for response_id, body in list(self.owed.items()):
                await self.update(body)
                self.owed.pop(response_id, None)

    async def delete(self, response_id: str, tenant_id: str) -> bool:
        """Whether there was one."""
        return _may_exist(response_id) and await self._call(
            tenant_id, services.response_delete, response_id, tenant_id
        )

    async def find(self, response_id: str, tenant_id: str) -> StoredResponseRow:
        """The tenant's response. Raises ApiError ``response_not_found``."""
        found = None
        if _may_exist(response_id):
            found = await self._call(tenant_id, selectors.response_find, response_id, tenant_id)
        if found is None:
            raise response_not_found(response_id)
        return found

    async def input_items(self, response_id: str, tenant_id: str) -> list[dict[str, Any]]:
        """What the tenant's response was made of. Raises ApiError ``response_not_found``."""
        found = None
        if _may_exist(response_id):
            found = await self._call(tenant_id, selectors.response_input, response_id, tenant_id)
        if found is None:
            raise response_not_found(response_id)
        return found

    async def history(self, response_id: str, tenant_id: str) -> History:
        """The conversation up to a response. Raises ApiError, also where a part of it is not kept."""
        if not _may_exist(response_id):
            raise _not_kept(response_id)
        turns = await self._call(tenant_id, selectors.response_chain, response_id, tenant_id, MOST_TURNS)
        if not turns:
            raise _not_kept(response_id)
        self._check(turns)
        items: list[Mapping[str, Any]] = []
        for turn in turns:
            items += [*json.loads(turn.input_items), *json.loads(turn.body)["output"]]
        return History(items, _size(turns))

    async def _call(self, tenant_id: str, function: Callable[..., T], *args: object) -> T:
        async with self.turns.take(tenant_id):
            return await self.database.read(function, *args)

    def _check(self, turns: Sequence[Turn]) -> None:
        first = turns[0].previous_response_id
        if first and len(turns) < MOST_TURNS:
            raise _not_kept(first)
        if first:
            raise _unfit(f"its conversation has more than {MOST_TURNS} responses")
        for turn in turns:
            if turn.status not in CONTINUABLE:
                raise _unfit(f"the status of response '{turn.id}' is '{turn.status}'")
        if _size(turns) > self.limits.max_body_bytes:
            raise _unfit(f"its conversation is larger than {self.limits.max_body_bytes} bytes")


def _may_exist(response_id: str) -> bool:
    # The database takes no text with a zero in it.
    return _ID.fullmatch(response_id) is not None


def response_not_found(response_id: str) -> ApiError:
    """The same for an id that nobody has and for another tenant's."""
    return ResponseNotFound(response_id=printable(response_id))


def _not_kept(response_id: str) -> ApiError:
    return PreviousResponseNotFound(response_id=printable(response_id), param=PREVIOUS)


def _unfit(reason: str) -> ApiError:
    return InvalidValue(param=PREVIOUS, reason=reason)


def _size(turns: Sequence[Turn]) -> int:
    return sum(len(turn.input_items) + len(turn.body) for turn in turns)
