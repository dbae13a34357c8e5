"""Tiers: the priority at which an engine starts a request, from its tenant's tier and load.

The engine starts waiting requests in the order of their numbers. A number is a virtual start time: the time
of arrival plus a delay for the tier and for each slot that the tenant already uses. A higher tier and a
tenant with little in flight overtake, but a request never waits for another that arrived later than its own
delay, so none starves (ageing: waiting improves the position relative to newcomers).
"""

from __future__ import annotations

from collections.abc import Mapping

from tenants.choices import Tier

# Seconds. A tenant of the highest tier overtakes others until it has a few requests in flight.
TIER_DELAYS_S: Mapping[Tier, float] = {Tier.PRIORITY: 0.0, Tier.STANDARD: 20.0, Tier.BATCH: 60.0}
SLOT_DELAY_S = 5.0
STEPS_PER_S = 10
RANKS: Mapping[Tier, int] = {Tier.BATCH: 0, Tier.STANDARD: 1, Tier.PRIORITY: 2}
# OpenAI's names. Those that it alone has ask for the highest tier.
REQUESTED_TIERS: Mapping[str, Tier] = {"flex": Tier.BATCH, "default": Tier.STANDARD}
REPORTED_NAMES: Mapping[Tier, str] = {
    Tier.BATCH: "flex",
    Tier.STANDARD: "default",
    Tier.PRIORITY: "priority",
}
AUTO = "auto"


def tier_used(tenant_tier: str, requested_name: str | None) -> Tier:
    """Return the tier of a request: the one that it asks for, at most its tenant's."""
    tenants_tier = Tier(tenant_tier)
    if requested_name in (None, AUTO):
        return tenants_tier
    requested_tier = REQUESTED_TIERS.get(requested_name or AUTO, Tier.PRIORITY)
    return min(tenants_tier, requested_tier, key=RANKS.__getitem__)


def is_granted(tier: Tier, requested_name: str | None) -> bool:
    """Return whether a request gets what it asks for."""
    if requested_name in (None, AUTO):
        return True
    return REQUESTED_TIERS.get(requested_name or AUTO, Tier.PRIORITY) == tier


def start_priority(tier: Tier, slots: int, arrived_at: float) -> int:
    """Return the engine's number, in tenths of a second. ``arrived_at``: Unix seconds.

    ``slots``: slots that the tenant uses, those of this request included.
    """
    return int((arrived_at + TIER_DELAYS_S[tier] + (slots - 1) * SLOT_DELAY_S) * STEPS_PER_S)
