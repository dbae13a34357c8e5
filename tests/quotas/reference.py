"""A plain model of the quota counters: it keeps every request, and adds up what counts."""

from __future__ import annotations

from dataclasses import dataclass, field

from tenants.limits.columns import UsageLimits
from tenants.quotas.amounts import Amounts, Claim, Limit, LimitScope, limit_values

WINDOW_S = 61


@dataclass
class Entry:
    """An admitted request: what counts for it now."""

    claim: Claim
    admitted_s: int
    amounts: Amounts
    lease_until_ms: float


@dataclass
class ReferenceCounters:
    """The counters of one tenant."""

    entries: dict[str, Entry] = field(default_factory=dict)

    def use(self, claim: Claim, scope: LimitScope, now_ms: int) -> tuple[int, ...]:
        """Return the use of the scope, in the order of ``Limit``."""
        entries = [
            entry
            for entry in self.entries.values()
            if scope is LimitScope.TENANT or entry.claim.key_id == claim.key_id
        ]
        recent = [entry for entry in entries if entry.admitted_s > now_ms // 1000 - WINDOW_S]
        return (
            sum(entry.amounts.requests for entry in recent),
            sum(entry.amounts.tokens for entry in recent),
            sum(entry.lease_until_ms > now_ms for entry in entries),
            sum(entry.amounts.cost for entry in entries if entry.claim.day == claim.day),
            sum(entry.amounts.cost for entry in entries if entry.claim.day[:6] == claim.day[:6]),
        )

    def refusals(
        self, claim: Claim, tenant: UsageLimits, key: UsageLimits, now_ms: int
    ) -> set[tuple[LimitScope, Limit]]:
        """Return every limit that the claim would exceed."""
        amounts = claim.amounts
        additions = (amounts.requests, amounts.tokens, 1, amounts.cost, amounts.cost)
        refusals = set()
        for scope, limits in ((LimitScope.TENANT, tenant), (LimitScope.KEY, key)):
            values = zip(Limit, limit_values(limits), self.use(claim, scope, now_ms), additions, strict=True)
            for limit, value, current_use, amount in values:
                is_spent = (
                    limit >= Limit.DAY and claim.needs_budget and value is not None and current_use >= value
                )
                if value is not None and ((amount and current_use + amount > value) or is_spent):
                    refusals.add((scope, limit))
        return refusals

    def admit(self, claim: Claim, now_ms: int, lease_ms: int) -> None:
        """Reserve the claim."""
        self.entries[claim.request_id] = Entry(claim, now_ms // 1000, claim.amounts, now_ms + lease_ms)

    def settle(self, request_id: str, amounts: Amounts) -> None:
        """Replace a reservation by what was used."""
        entry = self.entries[request_id]
        entry.amounts, entry.lease_until_ms = amounts, 0
