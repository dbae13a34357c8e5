"""Common prefixes of the examples in a pack, computed once.

In a causal model, a token's hidden state depends on that token and those before it. Chats with the same
system message, or both answers to one prompt, begin with the same tokens, so a pack needs only its distinct
ones. Only attention works on whole examples. The gradient of a shared token is the sum over the examples that
share it, so loss and gradients are those of separate examples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

MOST_DISTINCT = 0.98  # of the tokens; above that, copies in every layer cost more than is saved

Tokens: TypeAlias = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Run:
    """A range of a pack's tokens, and the range of distinct tokens that it copies.

    ``position`` and ``row``: where they begin. ``is_first``: the distinct tokens were taken from this range.
    """

    position: int
    row: int
    length: int
    is_first: bool


@dataclass(frozen=True)
class Sharing:
    """A pack's tokens as copies of distinct ones. ``positions``: of the distinct tokens in the pack."""

    positions: NDArray[np.int64]
    runs: tuple[Run, ...]
    total: int

    def expand(self, rows: torch.Tensor, dim: int) -> torch.Tensor:
        """Return values of all tokens along ``dim``, from those of the distinct ones."""
        values: torch.Tensor = _Expand.apply(rows, self, dim)
        return values

    def collect(self, values: torch.Tensor, dim: int) -> torch.Tensor:
        """Return values of the distinct tokens along ``dim``, from those of all."""
        rows: torch.Tensor = _Collect.apply(values, self, dim)
        return rows


def find_sharing(sequences: Sequence[Tokens]) -> Sharing | None:
    """Return how the sequences of a pack share their prefixes, or None if sharing saves too little."""
    starts = np.cumsum([0, *(len(sequence) for sequence in sequences)])
    sources = np.arange(starts[-1])
    # In sorted order, the neighbour has the longest prefix in common with a sequence.
    order = sorted(range(len(sequences)), key=lambda number: sequences[number].tobytes())
    for previous, current in pairwise(order):
        length = _common_length(sequences[previous], sequences[current])
        first, start = starts[previous], starts[current]
        sources[start : start + length] = sources[first : first + length]
    positions, rows = np.unique(sources, return_inverse=True)
    if len(positions) > MOST_DISTINCT * len(sources):
        return None
    return Sharing(positions, _runs(rows, sources == np.arange(len(sources))), len(sources))


def _common_length(first: Tokens, second: Tokens) -> int:
    size = min(len(first), len(second))
    differences = np.flatnonzero(first[:size] != second[:size])
    return int(differences[0]) if len(differences) else size


def _runs(rows: NDArray[np.int64], is_first: NDArray[np.bool_]) -> tuple[Run, ...]:
    is_break = (np.diff(rows) != 1) | (is_first[1:] != is_first[:-1])
    bounds = [0, *(np.flatnonzero(is_break) + 1).tolist(), len(rows)]
    return tuple(
        Run(start, int(rows[start]), end - start, bool(is_first[start])) for start, end in pairwise(bounds)
    )


class _Expand(torch.autograd.Function):  # type: ignore[misc]
    @staticmethod
    def forward(ctx: Any, rows: torch.Tensor, sharing: Sharing, dim: int) -> torch.Tensor:
        ctx.sharing, ctx.dim = sharing, dim
        values = _empty(rows, dim, sharing.total)
        for run in sharing.runs:
            values.narrow(dim, run.position, run.length).copy_(rows.narrow(dim, run.row, run.length))
        return values

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        sharing, dim = ctx.sharing, ctx.dim
        rows = _collected(grad, sharing, dim)
        for run in sharing.runs:
            if not run.is_first:
                rows.narrow(dim, run.row, run.length).add_(grad.narrow(dim, run.position, run.length))
        return rows, None, None


class _Collect(torch.autograd.Function):  # type: ignore[misc]
    @staticmethod
    def forward(ctx: Any, values: torch.Tensor, sharing: Sharing, dim: int) -> torch.Tensor:
        ctx.sharing, ctx.dim = sharing, dim
        return _collected(values, sharing, dim)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        sharing, dim = ctx.sharing, ctx.dim
        values = _empty(grad, dim, sharing.total).zero_()
        for run in sharing.runs:
            if run.is_first:
                values.narrow(dim, run.position, run.length).copy_(grad.narrow(dim, run.row, run.length))
        return values, None, None


def _collected(values: torch.Tensor, sharing: Sharing, dim: int) -> torch.Tensor:
    rows = _empty(values, dim, len(sharing.positions))
    for run in sharing.runs:
        if run.is_first:
            rows.narrow(dim, run.row, run.length).copy_(values.narrow(dim, run.position, run.length))
    return rows


def _empty(like: torch.Tensor, dim: int, size: int) -> torch.Tensor:
    return like.new_empty([*like.shape[:dim], size, *like.shape[dim + 1 :]])
