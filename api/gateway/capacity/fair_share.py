"""Fair shares: the decision whether a tenant may use more of a bounded resource."""

from __future__ import annotations

from collections import Counter

from api.openai.errors.service import Overloaded


class FairShare:
    """A bounded resource divided by dynamic thresholds (Choudhury and Hahne, 1998).

    A tenant may acquire an amount if it then uses at most a multiple of what is left free, so a newcomer
    always finds ``reserve`` units. Alone, a tenant converges to ``tenant_share`` of the limit; several
    converge to equal parts.
    """

    def __init__(self, limit: int, tenant_share: float, reserve: int = 1) -> None:
        self._limit, self._reserve = limit, reserve
        self._multiple = tenant_share / (1 - tenant_share)
        self._use: Counter[str] = Counter()
        self.total_use = 0

    @property
    def free(self) -> int:
        """The number of units that nobody uses."""
        return self._limit - self.total_use

    def use_of(self, tenant_id: str) -> int:
        """Return the number of units that the tenant uses."""
        return self._use.get(tenant_id, 0)

    def check(self, tenant_id: str, amount: int) -> None:
        """Raise Overloaded if the tenant can't acquire ``amount`` units now."""
        tenant_use, left = self.use_of(tenant_id), self.free - amount
        leaves_too_little = left < self._reserve or tenant_use + amount > self._multiple * left
        if left < 0 or (tenant_use and leaves_too_little):
            raise Overloaded()

    def acquire(self, tenant_id: str, amount: int = 1) -> None:
        """Acquire ``amount`` units. Raises Overloaded if the tenant's share is used up."""
        self.check(tenant_id, amount)
        self._use[tenant_id] += amount
        self.total_use += amount

    def release(self, tenant_id: str, amount: int = 1) -> None:
        """Release ``amount`` units of the tenant."""
        self.total_use -= amount
        self._use[tenant_id] -= amount
        if not self._use[tenant_id]:
            del self._use[tenant_id]
