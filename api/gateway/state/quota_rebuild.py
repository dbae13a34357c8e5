"""Rebuilding of a tenant's quota counters by the gateway that finds them missing."""

from __future__ import annotations

import redis

from api.gateway.state.database import Database
from tenants.quotas.rebuild import counters_rebuild

REBUILD_TIMEOUT_S = 8.0
SOCKET_TIMEOUT_S = 5.0


class QuotaRebuilder:
    """Rebuilds counters in threads of its own, since it waits for other processes."""

    def __init__(self, redis_url: str, timeout_s: float = REBUILD_TIMEOUT_S) -> None:
        self._database = Database(timeout_s)
        self._timeout_s = timeout_s
        self._client = redis.Redis.from_url(
            redis_url, socket_timeout=SOCKET_TIMEOUT_S, socket_connect_timeout=2.0
        )

    async def rebuild(self, tenant_id: str) -> None:
        """Rebuild the counters of a tenant. Raises RedisError, DatabaseUnavailable."""
        await self._database.call(self._rebuild, tenant_id, timeout_s=self._timeout_s + 1.0)

    async def close(self) -> None:
        """Close the connections and end the threads."""
        await self._database.close()
        self._client.close()

    def _rebuild(self, tenant_id: str) -> None:
        counters_rebuild(self._client, tenant_id, timeout_s=self._timeout_s)
