"""The cost of training at a price per million tokens."""

from __future__ import annotations

TOKENS_PER_PRICE = 1_000_000
MAX_COST_MICROUSD = 10**15


def training_cost(tokens: int, price: int) -> int:
    """Return the cost in micro-dollars, rounded up. ``price``: micro-dollars per million tokens."""
    return min(-(-tokens * price // TOKENS_PER_PRICE), MAX_COST_MICROUSD)
