"""Fair shares: the decision whether a tenant may use more of a bounded resource."""

from __future__ import annotations

from collections import Counter

from api.openai.errors.service import Overloaded


class FairShare:
    """A bounded resource divided by dynamic thresholds (Choudhury and Hahne, 1998).

    A tenant may acquire more while it uses less than a multiple of the free amount, so a newcomer always
    finds ``reserve`` units. Alone, a tenant converges to ``tenant_share`` of the limit; several converge to
    equal parts.
    """

    def __init__(self, limit: int, tenant_share: float, reserve: int = 1) -> None:
        self._limit, self._reserve = limit, reserve
        self._multiple = tenant_share / (1 - tenant_share)
        self._use: Counter[str] = Counter()
        self.total_use = 0

    def acquire(self, tenant_id: str, amount: int = 1) -> None:
        """Acquire ``amount`` units. Raises Overloaded if the tenant's share is used up."""
        tenant_use, free = self._use[tenant_id], self._limit - self.total_use
        leaves_too_little = free - amount < self._reserve or tenant_use >= self._multiple * free
        if amount > free or (tenant_use and leaves_too_little):
            raise Overloaded()
        self._use[tenant_id] += amount
        self.total_use += amount

    def release(self, tenant_id: str, amount: int = 1) -> None:
        """Release ``amount`` units of the tenant."""
        self.total_use -= amount
        self._use[tenant_id] -= amount
        if not self._use[tenant_id]:
            del self._use[tenant_id]
