"""Supervised training: cross entropy of the trained tokens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from training.datasets.tokens.packing import padded_batches
from training.engine.counts import Counts
from training.engine.models.logits import selected_logits


@dataclass(frozen=True)
class Example:
    """Token ids of an example, and whether each is trained. The first token has nothing to predict it."""

    token_ids: NDArray[np.int32]
    is_trained: NDArray[np.bool_]


class Examples(Protocol):
    """Tokenised examples, by index. ``lengths``: tokens of each; ``weights``: trained tokens of each."""

    @property
    def lengths(self) -> Sequence[int]: ...

    @property
    def weights(self) -> Sequence[int]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Example: ...


@dataclass(frozen=True)
class Sums:
    """Loss of a micro-batch, summed over its trained tokens (or pairs), with its gradient, and counters."""

    loss: torch.Tensor
    counts: Counts


class Objective(Protocol):
    """A loss over examples that are addressed by index.

    A step's loss is the sum over its micro-batches divided by the sum of its weights, whatever the grouping.
    """

    @property
    def lengths(self) -> Sequence[int]:
        """Tokens of each example."""
        ...

    def weight(self, index: int) -> int:
        """Return the trained tokens (or pairs) of an example."""
        ...

    def micro_batches(self, indices: Sequence[int], limit: int, lanes: int = 1) -> Iterator[tuple[int, ...]]:
        """Yield groups of examples for one forward pass each.

        ``lanes`` of them are computed at the same time, with at most ``limit`` tokens together if possible.
        """
        ...

    def sums(self, model: Any, group: Sequence[int]) -> Sums:
        """Return the loss of a group."""
        ...


class Supervised:
    """The objective of supervised training. ``device``: where the model is."""

    def __init__(self, examples: Examples, device: torch.device) -> None:
        self._examples = examples
        self._device = device
        self.lengths = examples.lengths

    def weight(self, index: int) -> int:
        """Return the trained tokens of an example."""
        return int(self._examples.weights[index])

    def micro_batches(self, indices: Sequence[int], limit: int, lanes: int = 1) -> Iterator[tuple[int, ...]]:
        """Yield groups of examples of similar length."""
        return map(tuple, padded_batches(self.lengths, indices, limit // lanes))

    def sums(self, model: Any, group: Sequence[int]) -> Sums:
        """Return the cross entropy of a group, summed over its trained tokens."""
        batch = pad([self._examples[index] for index in group]).to(self._device)
        logits = selected_logits(model, batch.inputs, batch.predictors)
        loss = torch.nn.functional.cross_entropy(logits.float(), batch.targets, reduction="sum")
        correct = int((logits.detach().argmax(-1) == batch.targets).sum())
        return Sums(loss, token_counts(loss, len(batch.targets), correct))


def token_counts(loss: torch.Tensor, tokens: int, correct: int) -> Counts:
    """Return the counters of supervised training."""
    token_loss = float(loss.detach())
    return Counts(weight=tokens, trained_tokens=tokens, tokens=tokens, correct=correct, token_loss=token_loss)


@dataclass(frozen=True)
class Batch:
    """Inputs of the model and, for each trained token, the flat position that predicts it and its id."""

    inputs: dict[str, torch.Tensor]
    predictors: torch.Tensor
    targets: torch.Tensor

    def to(self, device: torch.device) -> Batch:
        """Return the batch on a device."""
        inputs = {name: tensor.to(device) for name, tensor in self.inputs.items()}
        return Batch(inputs, self.predictors.to(device), self.targets.to(device))


def pad(examples: Sequence[Example]) -> Batch:
    """Return examples as rows, padded at the end; a causal model's results don't depend on the padding."""
    width = max(len(example.token_ids) for example in examples)
    ids = np.zeros((len(examples), width), np.int64)
    attention, loss_mask = np.zeros_like(ids), np.zeros(ids.shape, np.bool_)
    for row, example in enumerate(examples):
        length = len(example.token_ids)
        ids[row, :length] = example.token_ids
        attention[row, :length] = 1
        loss_mask[row, 1:length] = example.is_trained[1:]
    targets = np.flatnonzero(loss_mask)
    inputs = {"input_ids": torch.from_numpy(ids)}
    if not attention.all():
        inputs["attention_mask"] = torch.from_numpy(attention)
    return Batch(inputs, torch.from_numpy(targets - 1), torch.from_numpy(ids.ravel()[targets]))
