"""Choice of how the examples of a step are batched: packed or padded, in one lane or two."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import torch

from training.engine.attempt import KEPT, Attempt
from training.engine.hardware.device import Device
from training.engine.hardware.memory_prediction import CPU_LANES, MemoryPlan
from training.engine.hardware.precision import FLOAT32, Precision
from training.engine.models.matrix_products import (
    has_fast_onednn,
    has_onednn,
    select_library,
    use_fast_products,
)
from training.engine.models.merged_lora import use_merged_forward
from training.engine.models.packed_attention import packing_obstacle, use_packed_attention
from training.engine.models.weights import DTYPES, is_adapter, move_model
from training.engine.objectives.packed import PackedSupervised, head_obstacle
from training.engine.objectives.supervised import Examples, Objective, Supervised
from training.engine.processes import is_alone, smallest_of_all

# Names of probabilities and amplitudes in layers, such as attention_dropout, resid_pdrop and jitter_noise.
_NOISE = re.compile("drop|jitter")


@dataclass(frozen=True)
class Batching:
    """Batching options. ``autocast``: type of matrix products, None for that of the weights.

    ``shares_prefixes``: packs compute the common prefixes of their examples once.
    """

    is_packed: bool
    device: torch.device
    autocast: torch.dtype | None
    shares_prefixes: bool = True

    def autocast_context(self) -> torch.autocast:
        """Return the context of a forward pass."""
        return torch.autocast(self.device.type, self.autocast, enabled=self.autocast is not None)

    def supervised(self, examples: Examples) -> Objective:
        """Return the objective of supervised training."""
        if self.is_packed:
            return PackedSupervised(
                examples, self.device, self.autocast, shares_prefixes=self.shares_prefixes
            )
        return Supervised(examples, self.device)


class PackingError(Exception):
    """Packing was requested for a model that can't keep packed examples apart."""


def choose_batching(
    attempt: Attempt, model: Any, longest: int, precision: Precision, memory: MemoryPlan, device: Device
) -> Batching:
    """Choose and report the batching, and prepare the model for it.

    Raises BaseModelError, PackingError, UnsuitableHostError.
    """
    torch_device = device.torch_device
    move_model(model, torch_device)
    autocast = None if precision.compute == FLOAT32 else DTYPES[precision.compute]
    reason = _choose_packing(attempt, model, longest)
    _choose_products(attempt, device)
    if reason is not None:
        attempt.choose("packing", "off", reason)
        attempt.state.lanes = 1
        return Batching(False, torch_device, autocast)
    attempt.choose("packing", "on", "attention within each example alone, proven on a sample")
    use_packed_attention(_causal(model))
    if is_adapter(model) and device.is_cpu:
        use_merged_forward(model)
        use_fast_products(model)
    is_random = has_dropout(model)
    if is_random or not is_alone():
        attempt.state.lanes = 1
    elif not attempt.state.lanes:
        attempt.state.lanes = _lane_count(attempt, longest, memory, device)
    return Batching(True, torch_device, autocast, not is_random)


def has_dropout(model: Any) -> bool:
    """Return whether equal tokens after equal tokens can have different hidden states in training."""
    return any(_draws_random_numbers(module) for module in model.modules())


def _draws_random_numbers(module: torch.nn.Module) -> bool:
    if isinstance(module, torch.nn.Dropout):
        return bool(module.p > 0)
    values = (value for name, value in vars(module).items() if _NOISE.search(name))
    return any(isinstance(value, float) and value > 0 for value in values)


def _choose_packing(attempt: Attempt, model: Any, longest: int) -> str | None:
    """Choose whether examples are packed; return why they are not, None if they are."""
    state, reason = attempt.state, _packing_obstacle(attempt, model, longest)
    if state.is_packed is False and reason is None:
        reason = KEPT
    elif state.is_packed and reason is not None:
        attempt.refuse_host(f"its examples were packed, which is not possible here: {reason}")
    state.is_packed = smallest_of_all(int(reason is None)) == 1
    return None if state.is_packed else reason or "as in another process of this run"


def _choose_products(attempt: Attempt, device: Device) -> None:
    """Choose the library of matrix products."""
    state = attempt.state
    uses_onednn = device.is_cpu and (has_fast_onednn() if state.uses_onednn is None else state.uses_onednn)
    if uses_onednn and not has_onednn():
        attempt.refuse_host("its matrix products were those of oneDNN, which torch does not have here")
        uses_onednn = False
    state.uses_onednn = smallest_of_all(int(uses_onednn)) == 1
    select_library(uses_onednn=state.uses_onednn)


def _packing_obstacle(attempt: Attempt, model: Any, longest: int) -> str | None:
    packing = attempt.spec.options.packing
    if packing == "off":
        return "requested"
    reason = packing_obstacle(_causal(model), longest) or head_obstacle(model)
    if reason is not None and packing == "on":
        raise PackingError(f"Examples can't be packed for this model: {reason}.")
    return reason


def _causal(model: Any) -> Any:
    return model.get_base_model() if is_adapter(model) else model


def _lane_count(attempt: Attempt, longest: int, memory: MemoryPlan, device: Device) -> int:
    """Return the number of lanes: two on a CPU whose memory holds two of the longest examples, else one."""
    if not device.is_cpu or attempt.spec.options.adapter == "full":
        return 1
    return CPU_LANES if CPU_LANES * longest <= memory.fitting_tokens else 1
