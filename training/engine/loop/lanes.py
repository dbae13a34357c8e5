"""Micro-batches of a step in parallel Python threads, each with its own share of the processors.

Small matrix products gain little from threads inside them; micro-batches side by side use all processors.
The lane of a micro-batch and the order of sums depend only on the sizes of the micro-batches, so timing can't
change a bit of the result.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch

from training.engine.counts import Counts
from training.engine.objectives.supervised import Sums

Group: TypeAlias = tuple[int, ...]


@dataclass
class _Lane:
    gradients: list[torch.Tensor | None]
    loss: torch.Tensor
    counts: Counts = field(default_factory=Counts)


class Lanes:
    """Computes the gradient of a step in ``count`` threads. ``threads``: processors for all of them."""

    def __init__(self, parameters: Sequence[torch.nn.Parameter], count: int, threads: int) -> None:
        self._parameters = list(parameters)
        self.count = count
        self._threads = max(1, threads // count)
        self._pool = ThreadPoolExecutor(min(count, threads), "lane", self._prepare_thread)

    def _prepare_thread(self) -> None:
        torch.set_num_threads(self._threads)

    def accumulate(
        self, groups: Sequence[Group], sizes: Sequence[int], sums: Callable[[Group], Sums], total: int
    ) -> Sums:
        """Set the gradients of the mean loss over ``total`` trained tokens (or pairs); return the sums.

        ``sizes``: tokens of each group, by which the groups are divided among the lanes.
        """
        shares = self._shares(groups, sizes)
        if len(shares) == 1:  # here, where the processors are not divided
            lanes = [self._run(shares[0], sums)]
        else:
            lanes = _results([self._pool.submit(self._run, share, sums) for share in shares])
        for number, parameter in enumerate(self._parameters):
            parts = [gradient for lane in lanes if (gradient := lane.gradients[number]) is not None]
            if parts:
                parameter.grad = _total(parts).div_(total)
        loss = _total([lane.loss for lane in lanes])
        return Sums(loss, sum((lane.counts for lane in lanes), Counts()))

    def _shares(self, groups: Sequence[Group], sizes: Sequence[int]) -> list[list[Group]]:
        """Divide groups so that lanes end at about the same time: largest first, to the least busy lane."""
        shares: list[list[Group]] = [[] for _ in range(min(self.count, len(groups)))]
        loads = [0] * len(shares)
        for number in sorted(range(len(groups)), key=lambda number: (-sizes[number], number)):
            lane = loads.index(min(loads))
            shares[lane].append(groups[number])
            loads[lane] += sizes[number]
        return shares

    def _run(self, groups: Sequence[Group], sums: Callable[[Group], Sums]) -> _Lane:
        lane = _Lane([None] * len(self._parameters), torch.zeros(()))
        for group in groups:
            part = sums(group)
            gradients = torch.autograd.grad(part.loss, self._parameters, allow_unused=True)
            for number, gradient in enumerate(gradients):
                if gradient is not None:
                    previous = lane.gradients[number]
                    lane.gradients[number] = gradient if previous is None else previous.add_(gradient)
            lane.loss = lane.loss + part.loss.detach().float()
            lane.counts += part.counts
        return lane


def _results(futures: Sequence[Any]) -> list[_Lane]:
    """Wait for all lanes, so none still computes when the error of another is raised."""
    errors = [error for future in futures if (error := future.exception()) is not None]
    if errors:
        raise errors[0]
    return [future.result() for future in futures]


def _total(tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    total = tensors[0].clone()
    for tensor in tensors[1:]:
        total.add_(tensor)
    return total
