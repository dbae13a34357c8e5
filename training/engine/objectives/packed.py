"""Supervised training on packs: examples end to end in one row, attended apart, logits at labels only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from training.engine.models.shared_prefixes import Sharing, find_sharing
from training.engine.objectives.supervised import Example, Examples, Sums, token_counts
from training.engine.objectives.token_loss import IGNORED, TokenLoss, token_loss

HEAD_TOLERANCE = 1e-3
LOGIT_CAPS = ("final_logit_softcapping", "logits_soft_cap")
SCALES_LOGITS = "it scales or caps its logits"


@dataclass(frozen=True)
class Pack:
    """A row of examples.

    ``targets`` (T,): the token that each position has to predict, -100 where nothing is trained.
    ``lengths``: tokens of each example. ``token_ids``, ``position_ids`` (N,): those of the distinct tokens,
    which are all T without ``sharing``.
    """

    token_ids: torch.Tensor
    position_ids: torch.Tensor
    targets: torch.Tensor
    lengths: tuple[int, ...]
    sharing: Sharing | None

    def to(self, device: torch.device) -> Pack:
        """Return the pack on a device."""
        token_ids, position_ids = self.token_ids.to(device), self.position_ids.to(device)
        return Pack(token_ids, position_ids, self.targets.to(device), self.lengths, self.sharing)


def pack(examples: Sequence[Example], *, shares_prefixes: bool = True) -> Pack:
    """Return examples end to end, each without the tokens that predict no trained one."""
    inputs = [example.token_ids[: _input_length(example)] for example in examples]
    targets = [_targets(example, len(ids)) for example, ids in zip(examples, inputs, strict=True)]
    lengths = tuple(len(ids) for ids in inputs)
    token_ids = np.concatenate(inputs).astype(np.int64)
    positions = np.concatenate([np.arange(size) for size in lengths])
    sharing = find_sharing(inputs) if shares_prefixes else None
    if sharing is not None:
        token_ids, positions = token_ids[sharing.positions], positions[sharing.positions]
    return Pack(
        torch.from_numpy(token_ids),
        torch.from_numpy(positions),
        torch.from_numpy(np.concatenate(targets)),
        lengths,
        sharing,
    )


def _input_length(example: Example) -> int:
    """Return the tokens up to the last trained one, which needs to be predicted only."""
    trained_positions = np.flatnonzero(example.is_trained)
    return max(1, int(trained_positions[-1])) if len(trained_positions) else 1


def _targets(example: Example, length: int) -> NDArray[np.int64]:
    targets = np.full(length, IGNORED, np.int64)
    following = slice(1, length + 1)
    labels = np.where(example.is_trained[following], example.token_ids[following], IGNORED)
    targets[: len(labels)] = labels
    return targets


def balanced_packs(
    indices: Sequence[int], lengths: Sequence[int], limit: int, lanes: int = 1
) -> Iterator[tuple[int, ...]]:
    """Yield packs of about equal size: at most ``limit`` tokens if possible, and a multiple of ``lanes``.

    Longest first, each into the smallest pack (Graham, 1969), so lanes that work at the same time end at
    about the same time. The result depends on the arguments alone.
    """
    total = sum(int(lengths[index]) for index in indices)
    count = min(len(indices), lanes * ceil(total / (lanes * limit)))
    while True:
        packs: list[list[int]] = [[] for _ in range(count)]
        sizes = [0] * count
        for index in sorted(indices, key=lambda index: (-int(lengths[index]), index)):
            smallest = sizes.index(min(sizes))
            packs[smallest].append(index)
            sizes[smallest] += int(lengths[index])
        if count == len(indices) or all(
            size <= limit or len(group) == 1 for size, group in zip(sizes, packs, strict=True)
        ):
            break
        count = min(len(indices), count + lanes)
    yield from (tuple(group) for group in packs)


class PackedSupervised:
    """The objective of supervised training on packs. The model's attention has to be the packed one.

    ``autocast``: type of matrix products, None for that of the weights. ``shares_prefixes``: common prefixes
    are computed once, which dropout doesn't permit.
    """

    def __init__(
        self,
        examples: Examples,
        device: torch.device,
        autocast: torch.dtype | None = None,
        *,
        shares_prefixes: bool = True,
    ) -> None:
        self._examples = examples
        self._shares_prefixes = shares_prefixes
        self._device = device
        self._autocast = autocast
        self.lengths = examples.lengths

    def weight(self, index: int) -> int:
        """Return the trained tokens of an example."""
        return int(self._examples.weights[index])

    def micro_batches(self, indices: Sequence[int], limit: int, lanes: int = 1) -> Iterator[tuple[int, ...]]:
        """Yield balanced packs."""
        return balanced_packs(indices, self.lengths, max(1, limit // lanes), lanes)

    def sums(self, model: Any, group: Sequence[int]) -> Sums:
        """Return the cross entropy of a pack, summed over its trained tokens."""
        examples = [self._examples[index] for index in group]
        batch = pack(examples, shares_prefixes=self._shares_prefixes).to(self._device)
        with torch.autocast(self._device.type, self._autocast, enabled=self._autocast is not None):
            hidden_states, head = packed_hidden_states(model, batch)
            bias = getattr(head, "bias", None)
            result: TokenLoss = token_loss(hidden_states, batch.targets, head.weight, bias)
        return Sums(result.loss_sum, token_counts(result.loss_sum, result.tokens, int(result.hits.sum())))


def packed_hidden_states(model: Any, batch: Pack) -> tuple[torch.Tensor, Any]:
    """Return the hidden states (T, H) of a pack before the output layer, and that layer.

    A wrapper for several devices has to take part in the forward pass, so there the output layer is reached
    through the whole model, and passed no positions.
    """
    inner = getattr(model, "module", model)  # a wrapper for several devices
    head = inner.get_output_embeddings()
    inputs = {
        "input_ids": batch.token_ids[None],
        "position_ids": batch.position_ids[None],
        "segment_lengths": batch.lengths,
        "sharing": batch.sharing,
        "use_cache": False,
    }
    if inner is model:
        causal = model.get_base_model() if hasattr(model, "peft_config") else model
        return _expanded(causal.base_model(**inputs).last_hidden_state[0], batch), head
    head_inputs: list[torch.Tensor] = []

    def capture(_module: torch.nn.Module, arguments: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        head_inputs.append(arguments[0][0])
        return (arguments[0][:, :0], *arguments[1:])

    with head.register_forward_pre_hook(capture):
        model(**inputs)
    return _expanded(head_inputs[0], batch), head


def _expanded(hidden_states: torch.Tensor, batch: Pack) -> torch.Tensor:
    return hidden_states if batch.sharing is None else batch.sharing.expand(hidden_states, 0)


def head_obstacle(model: Any) -> str | None:
    """Return why logits are not simply the output layer applied to hidden states, or None."""
    causal = model.get_base_model() if hasattr(model, "peft_config") else model
    head = causal.get_output_embeddings()
    if not isinstance(head, torch.nn.Linear):
        return f"its output layer is of type {type(head).__name__}"
    config = causal.config.get_text_config()
    # A cap changes small logits too little for the experiment below.
    if any(getattr(config, name, None) is not None for name in LOGIT_CAPS):
        return SCALES_LOGITS
    tokens = torch.arange(1, 6, device=causal.device)[None] % head.weight.shape[0]
    with torch.no_grad():
        hidden_states = causal.base_model(input_ids=tokens, use_cache=False).last_hidden_state
        plain, logits = head(hidden_states), causal(input_ids=tokens, use_cache=False).logits
    difference = float((plain - logits).float().abs().max() / logits.float().abs().mean().clamp_min(1e-6))
    return None if difference <= HEAD_TOLERANCE else SCALES_LOGITS
