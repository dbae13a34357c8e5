"""Fair shares of the engine's batch: some of its sequences stay free for tenants that use few."""

from __future__ import annotations

import asyncio
from bisect import insort
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec

from inference_worker.protocol.messages import GENERATIONS, Submit

RESERVED_PART = 8


class _Parameters(msgspec.Struct):
    """The parameters of a request that name its tenant and determine its number of sequences."""

    cache_salt: str | None = None
    priority: int | None = None
    n: int | None = None
    prompt: Any = None

    @property
    def sequences(self) -> int:
        """The number of sequences: the choices of each prompt."""
        is_list = isinstance(self.prompt, list) and bool(self.prompt) and not isinstance(self.prompt[0], int)
        return (self.n or 1) * (len(self.prompt) if is_list else 1)


@dataclass(order=True)
class _Demand:
    """A request for sequences; those with a lower priority number come first."""

    priority: int
    number: int
    tenant: str = field(compare=False)
    sequences: int = field(compare=False)
    grant: asyncio.Future[None] = field(compare=False)


class SequenceShares:
    """The sequences of a batch, divided by dynamic thresholds (Choudhury and Hahne, 1998).

    A tenant with requests in the engine may add one if it then uses at most a multiple of what is left free,
    and one sequence is left. Alone, it converges to seven eighths of the batch; several converge to equal
    parts. So a newcomer starts with the next step instead of waiting for the end of another's answer. A
    tenant with nothing in the engine never waits here. Tenants are told apart by their cache salt. Batches
    of fewer than eight sequences have no reserve, and nobody waits.
    """

    def __init__(self, limit: int) -> None:
        self._limit, reserve = limit, limit // RESERVED_PART
        self._has_reserve = reserve > 0
        self._multiple = (limit - reserve) / max(reserve, 1)
        self._largest = limit - reserve
        self._use: Counter[str] = Counter()
        self._waiting: list[_Demand] = []
        self._count = 0

    @asynccontextmanager
    async def occupy(self, submit: Submit, on_wait: Callable[[], None]) -> AsyncIterator[None]:
        """Hold the sequences of a generation. Waits first if its tenant uses its whole share.

        ``on_wait`` is called once if it has to wait.
        """
        demand = self._demand(submit) if self._has_reserve else None
        if demand is None:
            yield
            return
        await self._acquire(demand, on_wait)
        try:
            yield
        finally:
            self._release(demand)

    def _demand(self, submit: Submit) -> _Demand | None:
        if submit.operation not in GENERATIONS:
            return None
        try:
            parameters = msgspec.json.decode(submit.body, type=_Parameters)
        except msgspec.MsgspecError:
            return None  # the engine reports the error
        self._count += 1
        return _Demand(
            priority=parameters.priority or 0,
            number=self._count,
            tenant=parameters.cache_salt or "",
            sequences=min(parameters.sequences, self._largest),
            grant=asyncio.get_running_loop().create_future(),
        )

    async def _acquire(self, demand: _Demand, on_wait: Callable[[], None]) -> None:
        insort(self._waiting, demand)
        self._grant()
        if demand.grant.done():
            return
        on_wait()
        try:
            await demand.grant
        except asyncio.CancelledError:
            if not demand.grant.cancelled():
                self._release(demand)  # granted meanwhile
                raise
            self._waiting.remove(demand)
            self._grant()  # a smaller request of its tenant may have waited behind it
            raise

    def _release(self, demand: _Demand) -> None:
        self._use[demand.tenant] -= demand.sequences
        if not self._use[demand.tenant]:
            del self._use[demand.tenant]
        self._grant()

    def _grant(self) -> None:
        """Grant what fits, in the order of priorities. Requests of one tenant never overtake each other."""
        waiting_tenants: set[str] = set()
        for demand in list(self._waiting):
            if demand.grant.cancelled():
                continue  # its task is about to remove it
            if demand.tenant in waiting_tenants or not self._fits(demand):
                waiting_tenants.add(demand.tenant)
                continue
            self._waiting.remove(demand)
            self._use[demand.tenant] += demand.sequences
            demand.grant.set_result(None)

    def _fits(self, demand: _Demand) -> bool:
        use, left = self._use.get(demand.tenant, 0), self._limit - self._use.total() - demand.sequences
        return not use or use + demand.sequences <= self._multiple * left
