"""Division of a step into micro-batches. After memory ran out, they are smaller, or fewer run at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from training.engine.objectives.supervised import Objective

SMALLEST_MICRO_BATCH = 1


@dataclass
class MicroBatches:
    """The micro-batches of a run. ``limit``: tokens of the ``lanes`` that are computed at the same time."""

    limit: int
    lanes: int = 1

    def groups(self, objective: Objective, examples: Sequence[int]) -> list[tuple[int, ...]]:
        """Return the micro-batches of examples."""
        return list(objective.micro_batches(examples, self.limit, self.lanes))

    def can_shrink(self, objective: Objective, examples: Sequence[int]) -> bool:
        """Return whether a step with these examples can take less memory."""
        return self.lanes > 1 or _is_divisible(self.groups(objective, examples))

    def shrink(self, objective: Objective, examples: Sequence[int]) -> None:
        """Halve the limit, or what these examples have in memory at once if that is less.

        If every micro-batch is a single example already, go on with a single lane.
        """
        groups = self.groups(objective, examples)
        largest = max(sum(objective.lengths[index] for index in group) for group in groups)
        self.limit = max(SMALLEST_MICRO_BATCH, min(self.limit, largest * self.lanes) // 2)
        if not _is_divisible(groups):
            self.lanes = 1


def _is_divisible(groups: Sequence[tuple[int, ...]]) -> bool:
    return any(len(group) > 1 for group in groups)
