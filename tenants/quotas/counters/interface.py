"""The interface of the quota counters, and the reservation of a request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from tenants.limits.columns import UsageLimits
from tenants.quotas.amounts import Amounts, Claim, Decision


class Counters(Protocol):
    """The quota counters, shared by all gateways."""

    async def reserve(self, claim: Claim, tenant: UsageLimits, key: UsageLimits) -> Decision:
        """Check a claim against all limits, and reserve it if it fits."""
        ...

    def settle(self, request_id: str, amounts: Amounts) -> None:
        """Replace a reservation by what the request has used."""
        ...

    def release(self, request_id: str) -> None:
        """End the lease of a request whose use is not known yet."""
        ...


@dataclass(frozen=True, slots=True)
class QuotaReservation:
    """The reservation of a request. ``is_returned_unused``: if nothing is dispatched, it doesn't count."""

    counters: Counters
    amounts: Amounts
    is_returned_unused: bool = True
