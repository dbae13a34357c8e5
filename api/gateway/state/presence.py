"""The gateway's presence key, which shows other processes that it is alive; and the health of Redis."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from api.gateway.periodic import PeriodicTask
from inference_worker.protocol import names
from inference_worker.transport.address import Address
from inference_worker.transport.redis_connection import RedisConnection, RedisUnavailableError

PRESENCE_INTERVAL_S = 1.0
COMMAND_TIMEOUT_S = 1.0


class GatewayPresence:
    """Refreshes the presence key on a connection of its own.

    ``unwritten_count`` returns the number of facts about requests that Redis has not received.
    """

    def __init__(self, redis_url: str, gateway_id: str, unwritten_count: Callable[[], int]) -> None:
        self.gateway_id = gateway_id
        self._unwritten_count = unwritten_count
        self._connection = RedisConnection(Address.from_url(redis_url))
        self._refresher = PeriodicTask("gateway-presence", self._refresh, PRESENCE_INTERVAL_S)

    async def start(self) -> None:
        """Connect in the background and start to refresh the key."""
        await self._connection.start()
        await self._refresher.start()

    async def stop(self) -> None:
        """Disconnect. Remove the key if every fact has been written; otherwise it expires."""
        await self._refresher.stop()
        if not self._unwritten_count():
            await self._command("DEL", names.gateway_key(self.gateway_id))
        await self._connection.stop()

    async def oldest_fact_age_s(self) -> float:
        """Return how long the oldest fact has waited for the ledger, in seconds; 0 if none waits.

        Raises RedisUnavailableError, TimeoutError.
        """
        async with asyncio.timeout(COMMAND_TIMEOUT_S):
            # Refused, unlike reads, by a server without memory or disk for what is written to it.
            await self._connection.call(*self._presence_command())
            entries = await self._connection.call("XRANGE", names.FACTS_STREAM, "-", "+", "COUNT", "1")
            seconds, microseconds = map(int, await self._connection.call("TIME"))
        if not entries:
            return 0.0
        written_ms = int(entries[0][0].partition(b"-")[0])
        return max(0.0, seconds + microseconds / 1e6 - written_ms / 1e3)

    async def _refresh(self) -> None:
        await self._command(*self._presence_command())

    def _presence_command(self) -> tuple[str | int, ...]:
        expiry_ms = int(names.GATEWAY_EXPIRY_S * 1000)
        return ("SET", names.gateway_key(self.gateway_id), "1", "PX", expiry_ms)

    async def _command(self, *command: str | int) -> bool:
        try:
            async with asyncio.timeout(COMMAND_TIMEOUT_S):
                await self._connection.call(*command)
        except (RedisUnavailableError, TimeoutError):
            return False
        return True
