"""Memory that training needs, predicted from the model's configuration. Imports no model library."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from training.engine.spec import ALL_LINEAR, TrainingOptions
from training.model_files.config import read_config
from training.model_files.tensor_headers import read_header

MIB = 1 << 20
RUNTIME_BYTES = 450 * MIB  # interpreter, libraries and their buffers
LOGIT_COPIES = 3  # logits, their softmax and their gradient, in float32
RECOMPUTED_COPIES = 3  # of one layer: activations, their gradients, and those not yet freed
SAFE_SHARE = 0.85  # of the available memory; the prediction was within 15 % of measurements
CPU_MICRO_BATCH, LARGEST_CPU_MICRO_BATCH, LARGEST_MICRO_BATCH = 512, 2048, 16_384
CPU_LANES = 2  # micro-batches computed at the same time on a CPU
BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
_DEFAULT_KEYS = {"hidden_size": 768, "num_hidden_layers": 12, "vocab_size": 32_000, "num_attention_heads": 12}


@dataclass(frozen=True)
class ModelShape:
    """Sizes of a model. ``parameters``: their number."""

    hidden_size: int
    intermediate: int
    layers: int
    vocabulary: int
    query_width: int
    value_width: int
    parameters: int


def read_shape(base_model: Path) -> ModelShape:
    """Return the shape of the model in a folder. Raises OSError or ValueError."""
    config: dict[str, Any] = _DEFAULT_KEYS | read_config(base_model)
    hidden_size, heads = int(config["hidden_size"]), int(config["num_attention_heads"])
    head = int(config.get("head_dim") or hidden_size // heads)
    value_heads = int(config.get("num_key_value_heads") or heads)
    return ModelShape(
        hidden_size=hidden_size,
        intermediate=int(config.get("intermediate_size") or 4 * hidden_size),
        layers=int(config["num_hidden_layers"]),
        vocabulary=int(config["vocab_size"]),
        query_width=heads * head,
        value_width=value_heads * head,
        parameters=sum(count_parameters(path) for path in base_model.glob("*.safetensors")),
    )


def count_parameters(path: Path) -> int:
    """Return the number of parameters in a safetensors file, from its header. Raises ValueError."""
    return sum(prod(tensor.shape) for tensor in read_header(path).values())


# ---- prediction ----


class InsufficientMemoryError(Exception):
    """A run needs more memory than the device has. The text has both figures."""


@dataclass(frozen=True)
class MemoryModel:
    """Bytes that a run needs, a linear function of the tokens of a micro-batch."""

    fixed_bytes: int
    per_token: float
    per_token_checkpointed: float

    def predict(self, tokens: int, *, checkpoints_gradients: bool) -> int:
        """Return the peak in bytes with micro-batches of ``tokens`` tokens."""
        slope = self.per_token_checkpointed if checkpoints_gradients else self.per_token
        return self.fixed_bytes + int(slope * tokens)

    def largest(self, available: int, *, checkpoints_gradients: bool, share: float = SAFE_SHARE) -> int:
        """Return the tokens of the largest micro-batch that fits, possibly 0 or less.

        ``share``: part of the available memory that may be used; the default leaves a safety margin.
        """
        slope = self.per_token_checkpointed if checkpoints_gradients else self.per_token
        return int((available * share - self.fixed_bytes) / slope)


def memory_model(
    shape: ModelShape, options: TrainingOptions, precision: str, trained_share: float = 1.0
) -> MemoryModel:
    """Return the memory of a run. ``trained_share``: trained tokens among all.

    Per layer and token, autograd keeps 8 hidden and 5 intermediate vectors if the adapter is on two
    projections, and about 1.6 times as much if every linear layer has one; measured with Llama models.
    """
    size = BYTES[precision]
    is_full = options.adapter == "full"
    trainable = shape.parameters if is_full else adapter_parameters(shape, options)
    weights = shape.parameters * (BYTES["float32"] if is_full else size)
    # Trained weights in float32 with their gradient and Adam's two moments.
    fixed_bytes = RUNTIME_BYTES + weights + trainable * (12 if is_full else 16)
    layer = (8 * shape.hidden_size + 5 * shape.intermediate) * size * (1.6 if _is_wide(options) else 1.0)
    logits = trained_share * shape.vocabulary * LOGIT_COPIES * BYTES["float32"]
    activation_bytes = shape.layers * shape.hidden_size * size
    return MemoryModel(
        fixed_bytes, shape.layers * layer + logits, activation_bytes + RECOMPUTED_COPIES * layer + logits
    )


def _is_wide(options: TrainingOptions) -> bool:
    return (
        options.adapter == "full" or ALL_LINEAR in options.target_modules or len(options.target_modules) > 3
    )


def adapter_parameters(shape: ModelShape, options: TrainingOptions) -> int:
    """Return the number of parameters of an adapter: rank times inputs plus outputs, per module."""
    sizes = {
        "q_proj": shape.hidden_size + shape.query_width,
        "k_proj": shape.hidden_size + shape.value_width,
        "v_proj": shape.hidden_size + shape.value_width,
        "o_proj": shape.query_width + shape.hidden_size,
        "gate_proj": shape.hidden_size + shape.intermediate,
        "up_proj": shape.hidden_size + shape.intermediate,
        "down_proj": shape.intermediate + shape.hidden_size,
    }
    modules = sizes if ALL_LINEAR in options.target_modules else options.target_modules
    largest = max(sizes.values())
    return shape.layers * options.rank * sum(sizes.get(module, largest) for module in modules)


# ---- plan ----


@dataclass(frozen=True)
class MemoryPlan:
    """Choice of gradient checkpointing and the largest micro-batch, with the reasons.

    ``fitting_tokens``: tokens of the largest micro-batch that would fit safely. ``possible_tokens``: of the
    largest one that is predicted to fit at all. ``peak_bytes``: the memory predicted for the most tokens that
    are computed at the same time.
    """

    checkpoints_gradients: bool
    micro_batch_tokens: int
    fitting_tokens: int
    possible_tokens: int
    peak_bytes: int
    checkpointing_reason: str
    micro_batch_reason: str


def plan_memory(
    model: MemoryModel,
    options: TrainingOptions,
    available: int,
    longest: int,
    *,
    is_cpu: bool,
    earlier_tokens: int = 0,
) -> MemoryPlan:
    """Return a plan that fits in ``available`` bytes if one does.

    ``longest``: tokens of the longest example. ``earlier_tokens``: the most that are computed at the same
    time with the choices of an earlier attempt, which this one is to keep.
    """
    requested_tokens = options.micro_batch_tokens or max(longest, CPU_MICRO_BATCH)
    need = model.predict(max(requested_tokens, earlier_tokens), checkpoints_gradients=False)
    figures = f"{need // MIB} MiB predicted without, {available // MIB} MiB available"
    if options.gradient_checkpointing == "auto":
        checkpoints, reason = need > available * SAFE_SHARE, figures
    else:
        checkpoints, reason = options.gradient_checkpointing == "on", "requested"
    fitting = model.largest(available, checkpoints_gradients=checkpoints)
    fitting_in_half = model.largest(available // 2, checkpoints_gradients=checkpoints)
    cap = _cpu_micro_batch(fitting_in_half) if is_cpu else LARGEST_MICRO_BATCH
    tokens = options.micro_batch_tokens or max(1, min(cap, fitting))
    possible = model.largest(available, checkpoints_gradients=checkpoints, share=1.0)
    at_once = longest
    if is_cpu and options.adapter != "full" and CPU_LANES * longest <= fitting:
        at_once = CPU_LANES * longest
    peak = model.predict(max(tokens, at_once), checkpoints_gradients=checkpoints)
    figures = f"{peak // MIB} MiB predicted, {available // MIB} MiB available"
    if options.micro_batch_tokens:
        figures = "requested"
    return MemoryPlan(checkpoints, tokens, fitting, possible, peak, reason, figures)


def _cpu_micro_batch(fitting_in_half: int) -> int:
    """Return the largest micro-batch on a CPU, in tokens, given how many fit in half of the memory."""
    return max(CPU_MICRO_BATCH, min(LARGEST_CPU_MICRO_BATCH, fitting_in_half))
