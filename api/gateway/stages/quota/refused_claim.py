"""A claim that a limit refuses, and whether waiting can help."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from api.gateway.stages.quota.call_bound import CallBound
from tenants.limits.columns import UsageLimits
from tenants.quotas.amounts import SPEND, Amounts, Claim, Decision, Limit, LimitScope, Refusal, limit_values


@dataclass(frozen=True, slots=True)
class RefusedClaim:
    """A refused claim with the limits that apply to it. ``bound``: of its call, if it has one."""

    claim: Claim
    bound: CallBound | None
    decision: Decision
    limits: Mapping[LimitScope, UsageLimits]
    unix_s: float

    @property
    def amounts(self) -> Amounts:
        """The amounts of the claim."""
        return self.claim.amounts

    def values(self) -> Iterator[tuple[LimitScope, Limit, int]]:
        """Yield the limits that apply, with their values."""
        for scope, limits in self.limits.items():
            for limit, value in zip(Limit, limit_values(limits), strict=True):
                if value is not None:
                    yield scope, limit, value

    def use(self, scope: LimitScope, limit: Limit) -> int:
        """Return the use that counts towards a limit."""
        return self.decision.use(scope).of(limit)

    def need(self, limit: Limit) -> int:
        """Return the lowest value of a limit with which the claim can be admitted at all."""
        spend = max(self.amounts.cost, int(self.claim.needs_budget))
        return (self.amounts.requests, self.amounts.tokens, 1, spend, spend)[limit - 1]

    def permanent_refusal(self) -> Refusal | None:
        """Return the limit that the claim exceeds by itself, None if there is none.

        Of several, it is the smallest budget, or else the smallest limit.
        """
        excesses = [item for item in self.values() if self.need(item[1]) > item[2]]
        if not excesses:
            return None
        scope, limit, _ = min(excesses, key=lambda item: (item[1] not in SPEND, item[2]))
        return Refusal(scope, limit, None)

    def affordable_completion(self) -> int:
        """Return the highest limit of each completion that every budget covers now; 0 if there is none."""
        return self._completion_within(
            value - self.use(scope, limit) for scope, limit, value in self._budgets()
        )

    def affordable_completion_after_renewal(self) -> int:
        """Return the highest limit of each completion that unused budgets would cover; 0 if there is none."""
        return self._completion_within(value for _, _, value in self._budgets())

    def longest_shortage(self) -> Limit:
        """Return the budget that is renewed last, among those that cover no completion now."""
        return max(
            limit
            for scope, limit, value in self._budgets()
            if not self._completion_within([value - self.use(scope, limit)])
        )

    def _budgets(self) -> list[tuple[LimitScope, Limit, int]]:
        return [item for item in self.values() if item[1] in SPEND]

    def _completion_within(self, budgets: Iterable[int]) -> int:
        return 0 if self.bound is None else self.bound.completion_within_cost(min(budgets))
