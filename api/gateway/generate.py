"""Every ``POST`` that an engine answers: the stages in their order."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

from api.gateway.admit import Places, TenantPlaces, authorize, tenant_salt
from api.gateway.answer import Answer
from api.gateway.asgi import ClientGone, Receive
from api.gateway.catalogue import ReadCatalogue, context_length, require_operation
from api.gateway.exchange import Exchange
from api.gateway.identify import FindPrincipal
from api.gateway.limits import Limits
from api.gateway.receive import check_headers, read_body
from api.gateway.relay import relay
from api.gateway.settle import Ledger
from api.openai.body import parse_body
from api.openai.errors import ApiError
from api.openai.requests import BodyCheck, Checked
from inference_worker.client.interface import Call, EngineClient
from inference_worker.protocol.messages import Operation
from inference_worker.registry.selectors import CatalogueEntry

STUCK_CLIENT_GRACE_S = 1.0


@dataclass(frozen=True, slots=True)
class Generation:
    """What generating needs of the process."""

    limits: Limits
    secret: bytes
    client: EngineClient
    ledger: Ledger
    places: Places
    readers: TenantPlaces
    find_principal: FindPrincipal
    catalogue: ReadCatalogue

    async def serve(
        self, exchange: Exchange, receive: Receive, answer: Answer, operation: Operation, check: BodyCheck
    ) -> None:
        """Answer one request. Raises ApiError, ClientGone."""
        check_headers(exchange, self.limits)
        # Before the body is read: who has no key makes us hold nothing.
        principal = await authorize(exchange, self.find_principal)
        tenant_id = str(principal.tenant_id)
        with self.readers.take(tenant_id):
            body = await read_body(receive, self.limits)
        # Only now: bodies that never come hold no place.
        with self.places.take():
            checked = check(parse_body(body))
            exchange.streamed = checked.streamed
            entry = (await self.catalogue()).resolve(checked.model, tenant_id)
            exchange.model = entry.name
            require_operation(entry, operation, self.client.workers())
            call = self._call(exchange, checked, entry, operation, len(body), tenant_id)
            await until_gone(receive, self._run(call, answer, exchange))

    async def _run(self, call: Call, answer: Answer, exchange: Exchange) -> None:
        await self.ledger.started(exchange)
        total_s = self.limits.total_timeout_s
        try:
            # The stages have limits of their own; this one ends writing to a client that doesn't read.
            async with asyncio.timeout(total_s + STUCK_CLIENT_GRACE_S):
                await relay(self.client, call, answer, exchange, self.limits)
        except TimeoutError:
            raise ApiError("total_timeout", elapsed_s=exchange.elapsed_s(), limit_s=total_s) from None

    def _call(
        self,
        exchange: Exchange,
        checked: Checked,
        entry: CatalogueEntry,
        operation: Operation,
        body_bytes: int,
        tenant_id: str,
    ) -> Call:
        salt = tenant_salt(self.secret, tenant_id)
        return Call(
            request_id=exchange.request_id,
            correlation_id=exchange.correlation_id,
            operation=operation,
            model=entry.name,
            streamed=checked.streamed,
            body=checked.engine_body(model=entry.name, cache_salt=salt),
            budget_s=self.limits.total_timeout_s,
            cost_tokens=checked.cost_tokens(body_bytes, context_length(entry, self.client.workers())),
        )


async def until_gone(receive: Receive, work: Coroutine[Any, Any, None]) -> None:
    """Run ``work``, and cancel it in the same turn in which the client turns out to be gone.

    Raises ClientGone then; otherwise what ``work`` raises.
    """
    task = asyncio.ensure_future(work)
    gone = False

    async def watch() -> None:
        nonlocal gone
        while (await receive())["type"] != "http.disconnect":
            pass
        gone = True
        task.cancel()

    watcher = asyncio.ensure_future(watch())
    try:
        await task
    except asyncio.CancelledError:
        current = asyncio.current_task()
        if gone and not (current and current.cancelling()):
            raise ClientGone from None
        raise
    finally:
        watcher.cancel()
