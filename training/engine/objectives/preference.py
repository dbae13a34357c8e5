"""Direct preference optimisation (Rafailov et al., 2023) on packs of chosen and rejected answers.

The reward of an answer is beta times the difference of its log-probs under the trained weights and under the
base model; the loss of a pair is -log sigmoid(reward of the chosen - reward of the rejected answer). The
base model never changes, so its log-probs are computed once, before the first step.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import logsigmoid

from training.durable_files import write_file
from training.engine.counts import Counts
from training.engine.hardware.memory_errors import is_out_of_memory, release_memory
from training.engine.models.logits import selected_logits
from training.engine.objectives.batching import Batching
from training.engine.objectives.packed import balanced_packs, pack, packed_hidden_states
from training.engine.objectives.supervised import Example, Sums, pad
from training.engine.objectives.token_loss import IGNORED, token_logprobs


@dataclass(frozen=True)
class Pair:
    """A chosen and a rejected sequence. Only their answers are trained."""

    chosen: Example
    rejected: Example


class Pairs(Protocol):
    """Tokenised pairs, by index. ``lengths``: tokens of both sequences together."""

    @property
    def lengths(self) -> Sequence[int]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Pair: ...


@dataclass(frozen=True)
class _Scores:
    """Log-probs of the answers of n sequences: sums (n,), number of tokens and of best tokens (n,)."""

    sums: torch.Tensor
    tokens: torch.Tensor
    hits: torch.Tensor


class Preference:
    """The objective of DPO. ``references``: log-probs of both answers of each pair under the base model."""

    def __init__(
        self, pairs: Pairs, batching: Batching, beta: float, references: NDArray[np.float32]
    ) -> None:
        self._pairs = pairs
        self._batching = batching
        self._beta = beta
        self._references = torch.from_numpy(references)
        self.lengths = pairs.lengths

    def weight(self, _index: int) -> int:
        """Return 1: each pair counts the same."""
        return 1

    def micro_batches(self, indices: Sequence[int], limit: int, lanes: int = 1) -> Iterator[tuple[int, ...]]:
        """Yield groups of pairs; both sequences of a pair are in one pass."""
        return balanced_packs(indices, self.lengths, max(1, limit // lanes), lanes)

    def sums(self, model: Any, group: Sequence[int]) -> Sums:
        """Return the loss of a group, summed over its pairs."""
        scores = _scores(model, [self._pairs[index] for index in group], self._batching)
        reference = self._references[list(group)].to(scores.sums.device)
        rewards = self._beta * (scores.sums.view(-1, 2) - reference)
        margins = rewards[:, 0] - rewards[:, 1]
        loss = -logsigmoid(margins).sum()
        return Sums(loss, _counts(scores, margins.detach()))


def _counts(scores: _Scores, margins: torch.Tensor) -> Counts:
    pairs = len(margins)
    return Counts(
        weight=pairs,
        trained_tokens=int(scores.tokens.sum()),
        tokens=int(scores.tokens[::2].sum()),
        correct=int(scores.hits[::2].sum()),
        token_loss=-float(scores.sums.detach()[::2].sum()),
        pairs=pairs,
        wins=int((margins > 0).sum()),
        margin=float(margins.sum()),
    )


def reference_log_probs(
    model: Any, pairs: Pairs, batching: Batching, limit: int, check_stop: Callable[[], None]
) -> NDArray[np.float32]:
    """Return the log-probs (pairs, 2) of the chosen and the rejected answers under the base model.

    ``model``: the base model, or one with an adapter, which is disabled meanwhile.
    """
    references = np.empty((len(pairs), 2), np.float32)
    was_training = model.training
    model.eval()
    without_adapter = model.disable_adapter() if hasattr(model, "peft_config") else torch.no_grad()
    with without_adapter, torch.no_grad():
        for group in balanced_packs(range(len(pairs)), pairs.lengths, limit):
            check_stop()
            references[list(group)] = _reference_sums(model, pairs, group, batching)
    model.train(was_training)
    return references


def _reference_sums(
    model: Any, pairs: Pairs, group: tuple[int, ...], batching: Batching
) -> NDArray[np.float32]:
    """Return the log-probs of a group's answers, computed in halves if memory runs out."""
    try:
        sums = _scores(model, [pairs[index] for index in group], batching).sums
        references: NDArray[np.float32] = sums.view(-1, 2).cpu().numpy()
        return references
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error) or len(group) == 1:
            raise
    # Outside the handler: its traceback holds on to the tensors of the failed attempt.
    release_memory()
    middle = len(group) // 2
    halves = group[:middle], group[middle:]
    return np.concatenate([_reference_sums(model, pairs, half, batching) for half in halves])


def write_references(path: Path, references: NDArray[np.float32]) -> None:
    """Write references for later attempts, which then continue with the same bits. Raises OSError."""
    path.parent.mkdir(exist_ok=True)
    partial = path.with_suffix(f".partial-{os.getpid()}")
    buffer = io.BytesIO()
    np.save(buffer, references, allow_pickle=False)
    write_file(partial, buffer.getvalue())
    partial.replace(path)


def read_references(path: Path, count: int) -> NDArray[np.float32] | None:
    """Return the references in a file, None if it is missing or holds something else."""
    try:
        references = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    is_valid = references.shape == (count, 2) and references.dtype == np.float32
    return references if is_valid and bool(np.isfinite(references).all()) else None


def _scores(model: Any, pairs: Sequence[Pair], batching: Batching) -> _Scores:
    examples = [example for pair in pairs for example in (pair.chosen, pair.rejected)]
    log_probs, hits, owners = (_packed if batching.is_packed else _padded)(model, examples, batching)
    zeros = torch.zeros(len(examples), device=log_probs.device)
    sums = zeros.index_add(0, owners, log_probs)
    tokens = zeros.index_add(0, owners, torch.ones_like(log_probs))
    return _Scores(sums, tokens, zeros.index_add(0, owners, hits.to(zeros.dtype)))


_LogProbs = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def _packed(model: Any, examples: Sequence[Example], batching: Batching) -> _LogProbs:
    """Return log-probs of the trained tokens (N,), whether each is the best, and the sequence of each."""
    batch = pack(examples, shares_prefixes=batching.shares_prefixes).to(batching.device)
    positions = (batch.targets != IGNORED).nonzero().squeeze(1)
    targets = batch.targets[positions]
    owners = torch.repeat_interleave(torch.tensor(batch.lengths, device=batching.device))[positions]
    with batching.autocast_context():
        hidden_states, head = packed_hidden_states(model, batch)
        bias = getattr(head, "bias", None)
        log_probs, hits = token_logprobs(hidden_states[positions], targets, head.weight, bias)
    return log_probs, hits, owners


def _padded(model: Any, examples: Sequence[Example], batching: Batching) -> _LogProbs:
    batch = pad(examples).to(batching.device)
    width = batch.inputs["input_ids"].shape[1]
    with batching.autocast_context():
        logits = selected_logits(model, batch.inputs, batch.predictors).float()
    log_probs = logits.log_softmax(-1).gather(1, batch.targets[:, None])[:, 0]
    return log_probs, logits.argmax(-1) == batch.targets, batch.predictors // width
