"""Lack of memory during a step: its recognition, and the halving of the micro-batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from training.engine.objectives.supervised import Objective

SMALLEST_MICRO_BATCH = 1


@dataclass
class MicroBatches:
    """The size of a run's micro-batches. ``limit``: tokens of the largest one."""

    limit: int

    def can_halve(self, objective: Objective, examples: Sequence[int]) -> bool:
        """Return whether any micro-batch of these examples can be divided."""
        return any(len(group) > 1 for group in objective.micro_batches(examples, self.limit))

    def halve(self, objective: Objective, examples: Sequence[int], lanes: int) -> None:
        """Halve the limit, or the tokens that ``lanes`` micro-batches of these examples have if fewer."""
        longest = max(objective.lengths[index] for index in examples)
        largest = max(
            sum(objective.lengths[index] for index in group)
            for group in objective.micro_batches(examples, self.limit)
        )
        tokens_at_once = max(largest, longest) * lanes
        self.limit = max(SMALLEST_MICRO_BATCH, min(self.limit, tokens_at_once) // 2)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory of the device or the host ran out."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and ("out of memory" in text or "can't allocate memory" in text)
