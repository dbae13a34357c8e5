"""Pace: limits the processor time that the large bodies of each tenant take from a gateway process."""

from __future__ import annotations

import asyncio
import time

TOTAL_SHARE = 0.5  # of the process's time, for the large bodies of all tenants together
TENANT_SHARE = 0.25
BURST_S = 0.1  # a tenant may be ahead of its share by this, so a single large body doesn't wait
# Time to copy a byte from its socket, which happens outside the measured work.
SOCKET_S_PER_BYTE = 1e-9
# Time to send a byte through Redis and decode it in the worker, both shared by all tenants too.
DISPATCH_S_PER_BYTE = 1e-8


class Pace:
    """A clock for each tenant (generic cell rate algorithm, ITU-T I.371, with time in place of cells).

    Work advances the clock by its duration divided by the tenant's share. A tenant whose clock is ahead of
    time waits before its next step. Tenants that work at the same time divide the total share evenly.
    """

    def __init__(self) -> None:
        self._clocks: dict[str, float] = {}

    def charge(self, tenant_id: str, work_s: float) -> None:
        """Advance the tenant's clock by work that took this long."""
        now = time.monotonic()
        self._clocks = {tenant: clock for tenant, clock in self._clocks.items() if clock > now}
        clock = self._clocks.setdefault(tenant_id, now)
        share = min(TENANT_SHARE, TOTAL_SHARE / len(self._clocks))
        self._clocks[tenant_id] = clock + work_s / share

    def ahead_s(self, tenant_id: str) -> float:
        """Return the time that the tenant's clock is ahead, 0 if it isn't."""
        return max(0.0, self._clocks.get(tenant_id, 0.0) - time.monotonic())

    def wait_s(self, tenant_id: str) -> float:
        """Return the time until the tenant's work so far fits its share, 0 if it does."""
        return max(0.0, self.ahead_s(tenant_id) - BURST_S)

    async def wait(self, tenant_id: str) -> None:
        """Wait until the tenant's work so far fits its share."""
        if wait_s := self.wait_s(tenant_id):
            await asyncio.sleep(wait_s)
