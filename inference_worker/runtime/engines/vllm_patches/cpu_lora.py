"""LoRA on CPUs: applies each adapter to its own tokens, and nothing to all others.

vLLM 0.32 marks tokens without an adapter by index -1, and its operations for CPUs use it as an index of the
adapters' weights: in a mixed batch, the base model's tokens get the adapter in the last slot
(vllm-project/vllm#48421). They also gather a copy of the weights for each token, and multiply with the zeros
of modules that an adapter does not change. Where they compute the logits of a prompt, they expect as many as
the batch has sequences; any other number ends the engine.

The engine loads ``CpuLoraExtension`` by its name in each process that runs the model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, TypeAlias

import torch
from typing_extensions import override
from vllm.lora import model_manager
from vllm.lora.punica_wrapper import punica_cpu
from vllm.v1.worker.gpu_model_runner import GPUModelRunner  # the base of the runner for CPUs

Rows: TypeAlias = "slice | torch.Tensor"


class SegmentedLora(punica_cpu.PunicaWrapperCPU):  # type: ignore[misc]
    """The LoRA operations of one model, by adapter slot instead of by token.

    ``scores_prompts``: the engine computes logits of prompts, not of the next tokens.
    """

    scores_prompts = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._token_slots: list[int] = []
        self._token_rows: list[tuple[int, Rows]] = []
        self._sampler_rows: list[tuple[int, Rows]] = []
        self._has_weights: dict[tuple[int, int], bool] = {}

    def forget_weights(self) -> None:
        """Forget which slots have weights: one has just been written."""
        self._has_weights.clear()

    @override
    def update_metadata(self, *args: Any, **kwargs: Any) -> None:
        super().update_metadata(*args, **kwargs)
        self._token_slots = self.token_lora_indices.tolist()
        self._token_rows = rows_by_slot(self._token_slots)
        self._sampler_rows = rows_by_slot(self.sampler_indices.tolist())

    @override
    def add_lora_linear(
        self,
        y: torch.Tensor,
        x: torch.Tensor,
        lora_a_stacked: tuple[torch.Tensor, ...],
        lora_b_stacked: tuple[torch.Tensor, ...],
        scale: float,
        output_slices: tuple[int, ...],
        *,
        buffer: tuple[torch.Tensor, ...] | None = None,
        **kwargs: Any,
    ) -> None:
        """Add each adapter's change to the outputs ``y`` of its tokens; slices lie side by side in ``y``."""
        if not self._token_rows:
            return
        y, x = y.view(-1, y.shape[-1]), x.view(-1, x.shape[-1])
        start = 0
        for lora_a, lora_b, size in zip(lora_a_stacked, lora_b_stacked, output_slices, strict=True):
            self._add(y[:, start : start + size], x, lora_a, lora_b, scale, self._token_rows)
            start += size

    @override
    def add_lora_logits(
        self,
        y: torch.Tensor,
        x: torch.Tensor,
        lora_a_stacked: torch.Tensor,
        lora_b_stacked: torch.Tensor,
        scale: float,
        *,
        buffer: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> None:
        """Add each adapter's change to the logits ``y`` of its sequences, or of the tokens of its prompts."""
        if self._token_rows:
            y, x = y.view(-1, y.shape[-1]), x.view(-1, x.shape[-1])
            rows = self._prompt_rows(x) if self.scores_prompts else self._sampler_rows
            self._add(y, x, lora_a_stacked, lora_b_stacked, scale, rows)

    @override
    def add_lora_embedding(
        self,
        y: torch.Tensor,
        x: torch.Tensor,
        lora_b_stacked: torch.Tensor,
        add_inputs: bool = True,
        **kwargs: Any,
    ) -> None:
        """Add each adapter's change to the embeddings ``y`` of its tokens; ``x`` has the rows of lora_A."""
        for slot, rows in self._token_rows:
            if self._changes(lora_b_stacked, slot):
                lora_b = lora_b_stacked[slot, 0]
                y[rows, : lora_b.shape[0]] += x[rows].to(lora_b.dtype) @ lora_b.T

    def _prompt_rows(self, x: torch.Tensor) -> list[tuple[int, Rows]]:
        """Return the rows of each slot in ``x``, which is a slice of the batch's hidden states."""
        first = x.storage_offset() // x.stride(0)
        return rows_by_slot(self._token_slots[first : first + len(x)])

    def _add(
        self,
        y: torch.Tensor,
        x: torch.Tensor,
        lora_a: torch.Tensor,
        lora_b: torch.Tensor,
        scale: float,
        slots: Sequence[tuple[int, Rows]],
    ) -> None:
        for slot, rows in slots:
            if self._changes(lora_b, slot):
                projection = x[rows].to(lora_a.dtype) @ lora_a[slot, 0].T
                delta = (projection * scale) @ lora_b[slot, 0].T
                width = min(delta.shape[1], y.shape[1])  # either may be padded
                y[rows, :width] += delta[:, :width].to(y.dtype)

    def _changes(self, lora_b: torch.Tensor, slot: int) -> bool:
        """Return whether the adapter in a slot changes this module."""
        key = (lora_b.data_ptr(), slot)
        changes = self._has_weights.get(key)
        if changes is None:
            changes = self._has_weights[key] = bool(lora_b[slot].any())
        return changes


def rows_by_slot(slots: Sequence[int]) -> list[tuple[int, Rows]]:
    """Return the rows of each slot in a batch, as a slice where they are consecutive. -1: no adapter."""
    rows: dict[int, list[int]] = {}
    for row, slot in enumerate(slots):
        if slot >= 0:
            rows.setdefault(slot, []).append(row)
    return [(slot, _selection(indices)) for slot, indices in rows.items()]


def _selection(indices: list[int]) -> Rows:
    first, last = indices[0], indices[-1]
    if last - first + 1 == len(indices):
        return slice(first, last + 1)
    return torch.tensor(indices)


def _forget_after(activate: Callable[..., bool]) -> Callable[..., bool]:
    @wraps(activate)
    def activate_and_forget(manager: Any, lora_id: int) -> bool:
        is_copied = activate(manager, lora_id)
        for wrapper in manager.punica_wrapper_mapping.values() if is_copied else ():
            wrapper.forget_weights()
        return is_copied

    return activate_and_forget


def _as_prompts(score: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(score)
    def score_prompts(*args: Any, **kwargs: Any) -> Any:
        SegmentedLora.scores_prompts = True
        try:
            return score(*args, **kwargs)
        finally:
            SegmentedLora.scores_prompts = False

    return score_prompts


class CpuLoraExtension:
    """vLLM's worker has this class as a base, so it imports this module before it loads the model."""


punica_cpu.PunicaWrapperCPU = SegmentedLora
model_manager.LoRAModelManager.activate_adapter = _forget_after(
    model_manager.LoRAModelManager.activate_adapter
)
GPUModelRunner._get_prompt_logprobs_dict = _as_prompts(GPUModelRunner._get_prompt_logprobs_dict)
