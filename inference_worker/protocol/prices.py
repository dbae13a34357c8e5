"""Prices of models, and the cost of tokens at them."""

from __future__ import annotations

import msgspec

# A dollar per token. Then the cost of the largest counts of a request fits its column.
MAX_PRICE = 10**12


class Prices(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """Prices of a model in micro-dollars per million tokens. Tokens from the prefix cache cost ``cached``."""

    prompt: int = 0
    cached: int = 0
    completion: int = 0

    def cost_microusd(self, prompt_tokens: int, cached_tokens: int, completion_tokens: int) -> int:
        """Return the cost, rounded up. ``cached_tokens`` are part of ``prompt_tokens``."""
        cached_prompt_tokens = min(cached_tokens, prompt_tokens)
        total = (prompt_tokens - cached_prompt_tokens) * self.prompt + cached_prompt_tokens * self.cached
        return -(-(total + completion_tokens * self.completion) // 1_000_000)


FREE = Prices()
