"""Counters that a loss is reported with, summed over micro-batches, steps and processes."""

from __future__ import annotations

from dataclasses import astuple, dataclass


@dataclass(frozen=True, slots=True)
class Counts:
    """Sums over a micro-batch or more.

    ``weight``: divisor of the loss, a number of trained tokens or of pairs. ``tokens``: trained tokens that
    accuracy is measured on (with DPO, those of chosen answers); ``correct``: those predicted right;
    ``token_loss``: their cross entropy. ``wins``: pairs whose chosen answer has the higher reward;
    ``margin``: sum of the differences of rewards.
    """

    weight: float = 0.0
    trained_tokens: float = 0.0
    tokens: float = 0.0
    correct: float = 0.0
    token_loss: float = 0.0
    pairs: float = 0.0
    wins: float = 0.0
    margin: float = 0.0

    def __add__(self, other: Counts) -> Counts:
        return Counts(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    @property
    def token_accuracy(self) -> float:
        """Share of trained tokens predicted right."""
        return self.correct / max(self.tokens, 1.0)

    @property
    def reward_accuracy(self) -> float | None:
        """Share of pairs whose chosen answer has the higher reward; None without pairs."""
        return self.wins / self.pairs if self.pairs else None

    @property
    def reward_margin(self) -> float | None:
        """Mean difference of the rewards of a pair; None without pairs."""
        return self.margin / self.pairs if self.pairs else None
