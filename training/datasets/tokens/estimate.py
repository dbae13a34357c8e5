"""Estimates of the steps and the duration of a training run."""

from __future__ import annotations

from training.datasets.report import Estimate, TokenReport
from training.datasets.tokens.packing import steps_per_epoch


def estimate_training(
    report: TokenReport,
    *,
    epochs: int,
    batch_size: int,
    tokens_per_s: float | None = None,
) -> Estimate:
    """Return steps and tokens of a run, and its duration if the speed (of all tokens) is known."""
    steps = steps_per_epoch(report.samples, batch_size)
    total_tokens = report.tokens * epochs
    return Estimate(
        steps_per_epoch=steps,
        total_steps=steps * epochs,
        total_tokens=total_tokens,
        duration_s=total_tokens / tokens_per_s if tokens_per_s else None,
    )
