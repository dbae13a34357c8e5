"""The quota counters as a gateway uses them: one call to reserve, one to settle, renewals in batches."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from inference_worker.transport.address import Address
from inference_worker.transport.incarnation import INCARNATION_KEY, INCARNATION_SCRIPT
from inference_worker.transport.lua_script import NO_SCRIPT, LuaScript
from inference_worker.transport.redis_connection import (
    CommandRejectedError,
    RedisConnection,
    RedisUnavailableError,
)
from tenants.limits.columns import UsageLimits
from tenants.quotas.amounts import (
    NOTHING,
    Amounts,
    Claim,
    Decision,
    StoredReservation,
    decision,
    limit_arguments,
)
from tenants.quotas.counters import names, scripts

logger = logging.getLogger("cyllm.quotas")

CALL_TIMEOUT_S = 2.0
LEASE_MS = 10_000
RENEWAL_INTERVAL_S = 2.0
MAX_TRIES = 4
INDEX_INTERVAL_S = 60.0

Rebuild = Callable[[str], Awaitable[None]]


class UnknownScriptError(RedisUnavailableError):
    """Redis no longer has a script: scripts were flushed, or it evicted unused ones."""


@dataclass(slots=True)
class Reservation:
    """An admitted claim, renewed until it is settled or released.

    ``admitted_at_s``: Redis's time. ``incarnation``: that of the Redis data known to contain it.
    """

    claim: Claim
    admitted_at_s: int
    incarnation: bytes

    def stored_text(self) -> str:
        """Return the reservation as Redis stores it."""
        claim = self.claim
        return str(StoredReservation(self.admitted_at_s, claim.day, claim.amounts, claim.key_id))


class QuotaCounters:
    """The counters of all tenants, on one connection.

    ``rebuild(tenant_id)`` restores a tenant's counters after Redis has lost them.
    """

    def __init__(self, redis_url: str, rebuild: Rebuild) -> None:
        self._connection = RedisConnection(Address.from_url(redis_url), on_down=self._forget_server)
        self._rebuild = rebuild
        self._rebuilds: dict[str, asyncio.Task[None]] = {}
        self._incarnation: bytes | None = None
        self._loaded_scripts: set[str] = set()
        self._indexed_at: dict[str, float] = {}
        self._reservations: dict[str, Reservation] = {}
        self._renewal: asyncio.Task[None] | None = None

    @property
    def is_up(self) -> bool:
        """True if Redis can be reached now."""
        return self._connection.is_up

    async def start(self) -> None:
        """Connect in the background and start to renew reservations."""
        await self._connection.start()
        self._renewal = asyncio.create_task(self._renew_repeatedly(), name="quota-renewal")

    async def stop(self) -> None:
        """Disconnect. Reservations that are still open are settled by the sweep."""
        tasks = [task for task in (self._renewal, *self._rebuilds.values()) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._connection.stop()

    # ---- admission ----

    async def reserve(self, claim: Claim, tenant: UsageLimits, key: UsageLimits) -> Decision:
        """Check a claim against all limits, and reserve it if it fits.

        Raises RedisUnavailableError and TimeoutError, and errors of ``rebuild``. Nothing stays reserved then.
        """
        limits = (*limit_arguments(tenant), *limit_arguments(key))
        for _ in range(MAX_TRIES):
            try:
                incarnation, reply = await self._reserve_once(claim, limits)
            except UnknownScriptError:
                continue
            verdict = decision(reply)
            if verdict is not None:
                if verdict.refusal is None:
                    reservation = Reservation(claim, verdict.admitted_at_s, incarnation)
                    self._reservations[claim.request_id] = reservation
                return verdict
            await self._restore(claim.tenant_id)
        raise RedisUnavailableError("the counters were lost again while they were rebuilt")

    async def _reserve_once(self, claim: Claim, limits: tuple[int, ...]) -> tuple[bytes, list[Any]]:
        amounts = claim.amounts
        try:
            async with asyncio.timeout(CALL_TIMEOUT_S):
                incarnation = self._incarnation or await self._read_incarnation()
                self._index(claim.tenant_id)
                arguments: list[str | bytes | int] = [incarnation, claim.request_id, claim.day]
                arguments += [amounts.requests, amounts.tokens, amounts.cost]
                arguments += [int(claim.needs_budget), LEASE_MS, *limits]
                keys = names.script_keys(claim.tenant_id, claim.key_id)
                return incarnation, await self._run(scripts.RESERVE, keys, arguments)
        except BaseException:
            # Redis may have reserved it nonetheless.
            self._send_settlement(claim, NOTHING)
            raise

    async def _restore(self, tenant_id: str) -> None:
        """Rebuild a tenant's counters, once for all requests that wait for them."""
        earlier_incarnation = self._incarnation
        async with asyncio.timeout(CALL_TIMEOUT_S):
            if await self._read_incarnation() != earlier_incarnation:
                return  # another gateway may have rebuilt them already
        task = self._rebuilds.get(tenant_id)
        if task is None:
            task = asyncio.ensure_future(self._rebuild(tenant_id))
            self._rebuilds[tenant_id] = task
            task.add_done_callback(lambda _: self._rebuilds.pop(tenant_id, None))
        await asyncio.shield(task)

    async def _read_incarnation(self) -> bytes:
        reply = await self._connection.call("EVAL", INCARNATION_SCRIPT, 1, INCARNATION_KEY)
        incarnation = bytes(reply[0])
        if incarnation != self._incarnation:
            self._indexed_at.clear()
        self._incarnation = incarnation
        return incarnation

    def _index(self, tenant_id: str) -> None:
        """Make the tenant known to the sweep; sent in one write with the command that follows."""
        now = asyncio.get_running_loop().time()
        if now - self._indexed_at.get(tenant_id, -INDEX_INTERVAL_S) >= INDEX_INTERVAL_S:
            self._indexed_at[tenant_id] = now
            reply = self._connection.call("EVAL", _INDEX, 1, names.TENANTS, tenant_id)
            reply.add_done_callback(_ignore_error)

    # ---- settlement ----

    def settle(self, request_id: str, amounts: Amounts) -> None:
        """Replace a reservation by what the request has used. Doesn't block.

        If Redis is unavailable, the sweep does it once the ledger has settled the request.
        """
        if (reservation := self._reservations.pop(request_id, None)) is not None:
            self._send_settlement(reservation.claim, amounts)

    def release(self, request_id: str) -> None:
        """End the lease of a request whose use is not known yet; the sweep settles it. Doesn't block."""
        if (reservation := self._reservations.pop(request_id, None)) is not None:
            self._send(scripts.RELEASE, reservation.claim, ())

    def _send_settlement(self, claim: Claim, amounts: Amounts) -> None:
        self._send(scripts.SETTLE, claim, (amounts.requests, amounts.tokens, amounts.cost))

    def _send(self, script: LuaScript, claim: Claim, arguments: tuple[int, ...]) -> None:
        keys = names.script_keys(claim.tenant_id, claim.key_id)
        command: list[str | int] = [len(keys), *keys, claim.request_id, *arguments]
        with contextlib.suppress(RedisUnavailableError):
            reply = self._connection.call(*self._call_of(script), *command)
            reply.add_done_callback(lambda reply: self._send_again(reply, script, command))
            self._loaded_scripts.add(script.digest)

    def _send_again(self, reply: asyncio.Future[Any], script: LuaScript, command: list[str | int]) -> None:
        """Repeat a command with the text of its script if Redis no longer has the script."""
        if reply.cancelled() or not str(reply.exception()).startswith(NO_SCRIPT):
            return
        with contextlib.suppress(RedisUnavailableError):
            self._connection.call("EVAL", script.text, *command).add_done_callback(_ignore_error)

    # ---- renewal ----

    async def _renew_repeatedly(self) -> None:
        while True:
            await asyncio.sleep(RENEWAL_INTERVAL_S)
            try:
                await self._renew()
            except (RedisUnavailableError, TimeoutError) as error:
                logger.warning("quota reservations not renewed: %s", type(error).__name__)

    async def _renew(self) -> None:
        """Renew the leases of all open requests, in one command for each API key."""
        by_key: defaultdict[tuple[str, str], list[Reservation]] = defaultdict(list)
        for reservation in self._reservations.values():
            by_key[reservation.claim.tenant_id, reservation.claim.key_id].append(reservation)
        if not by_key:
            return
        async with asyncio.timeout(CALL_TIMEOUT_S):
            incarnation = self._incarnation or await self._read_incarnation()
            for (tenant_id, key_id), reservations in by_key.items():
                self._index(tenant_id)
                # Requests may have ended while this loop waited.
                current = [item for item in reservations if item.claim.request_id in self._reservations]
                arguments: list[str | bytes | int] = [incarnation, LEASE_MS]
                for item in current:
                    is_lost = item.incarnation != incarnation
                    arguments += [item.claim.request_id, item.stored_text(), int(is_lost)]
                keys = names.script_keys(tenant_id, key_id)
                if await self._run(scripts.RENEW, keys, arguments):
                    for item in current:
                        item.incarnation = incarnation

    async def _run(
        self, script: LuaScript, keys: Sequence[str], arguments: Sequence[str | bytes | int]
    ) -> Any:
        """Run a script. The first run on a connection sends its text, so no command overtakes another."""
        call = self._call_of(script)
        self._loaded_scripts.add(script.digest)
        try:
            return await self._connection.call(*call, len(keys), *keys, *arguments)
        except CommandRejectedError as error:
            if not str(error).startswith(NO_SCRIPT):
                raise
            self._loaded_scripts.clear()
            raise UnknownScriptError(str(error)) from None

    def _call_of(self, script: LuaScript) -> tuple[str, str]:
        if script.digest in self._loaded_scripts:
            return "EVALSHA", script.digest
        return "EVAL", script.text

    def _forget_server(self) -> None:
        """Forget what the disconnected server had: the next connection may reach another one."""
        self._incarnation = None
        self._loaded_scripts.clear()
        self._indexed_at.clear()


_INDEX = "return redis.call('ZADD', KEYS[1], redis.call('TIME')[1], ARGV[1])"


def _ignore_error(reply: asyncio.Future[Any]) -> None:
    if not reply.cancelled() and (error := reply.exception()) is not None:
        logger.debug("a quota command failed: %s", type(error).__name__)
