"""Optimizer steps of a run, with the order of their examples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from training.datasets.tokens.packing import epoch_order, steps_per_epoch

SAMPLE = 64


@dataclass(frozen=True)
class Step:
    """An optimizer step: its number from 0, its epoch and the indices of its examples."""

    number: int
    epoch: int
    examples: tuple[int, ...]


class StepPlan(Dataset[Step]):  # type: ignore[misc]
    """All steps of a run, a function of (seed, epoch, batch size) alone.

    So a resumed run sees the same examples in the same order, however many processes share a step.
    """

    def __init__(self, *, count: int, seed: int, batch_size: int, epochs: int) -> None:
        self._count = count
        self._seed = seed
        self._batch_size = batch_size
        self._latest_order: tuple[int, list[int]] = (-1, [])
        self.steps_per_epoch = steps_per_epoch(count, batch_size)
        self.total_steps = self.steps_per_epoch * epochs

    def __len__(self) -> int:
        return self.total_steps

    def __getitem__(self, number: int) -> Step:
        epoch, position = divmod(number, self.steps_per_epoch)
        if self._latest_order[0] != epoch:
            self._latest_order = (epoch, epoch_order(self._seed, epoch, self._count))
        start = position * self._batch_size
        return Step(number, epoch, tuple(self._latest_order[1][start : start + self._batch_size]))


def step_loader(plan: StepPlan) -> DataLoader[Step]:
    """Return a loader of the steps. It doesn't use the global random state."""
    generator = torch.Generator()
    return DataLoader(plan, batch_size=1, collate_fn=_single, generator=generator)


def _single(items: list[Step]) -> Step:
    return items[0]


def share_of_rank(groups: Sequence[tuple[int, ...]], rank: int, world: int) -> list[tuple[int, ...]]:
    """Return the micro-batches that one of ``world`` processes computes."""
    return list(groups[rank::world])


def sample_indices(count: int, seed: int) -> list[int]:
    """Return the training examples that stand in for a validation file: at most 64, drawn by the seed."""
    generator = np.random.default_rng((seed, 2**32))
    return sorted(int(index) for index in generator.permutation(count)[:SAMPLE])
