"""Steps and duration of a training run, and the epochs and batch size of one that sets none."""

from __future__ import annotations

from training.datasets.report import Estimate, TokenReport
from training.datasets.tokens.packing import steps_per_epoch

AUTO_EPOCHS, MIN_AUTO_STEPS, MAX_AUTO_EPOCHS = 3, 50, 10
AUTO_BATCH_SIZE, AUTO_BATCHES = 8, 8


def auto_batch_size(examples: int) -> int:
    """Return the batch size of a run that doesn't set one: small data sets get small batches."""
    return max(1, min(AUTO_BATCH_SIZE, examples // AUTO_BATCHES))


def auto_epochs(examples: int, batch_size: int) -> int:
    """Return the epochs of a run that doesn't set them: small data sets get more, for enough steps."""
    steps = steps_per_epoch(examples, batch_size) or 1
    return min(MAX_AUTO_EPOCHS, max(AUTO_EPOCHS, -(-MIN_AUTO_STEPS // steps)))


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
