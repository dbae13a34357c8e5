"""Numeric precision, chosen from the request, the hardware and the checkpoint."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from training.engine.hardware.device import Device
from training.engine.spec import TrainingOptions

FLOAT32, BFLOAT16, FLOAT16 = "float32", "bfloat16", "float16"
PRECISIONS = (FLOAT32, FLOAT16, BFLOAT16)  # the most widely supported first


@dataclass(frozen=True)
class Precision:
    """A choice. ``weights``: type of frozen weights. ``compute``: type of matrix products."""

    compute: str
    weights: str
    reason: str


def checkpoint_dtype(base_model: Path) -> str:
    """Return the type of a checkpoint's weights, by its configuration; float32 if it names none."""
    config = json.loads((base_model / "config.json").read_text())
    name = config.get("dtype") or config.get("torch_dtype") or FLOAT32
    return str(name).removeprefix("torch.")


def choose_precision(options: TrainingOptions, device: Device, checkpoint_dtype: str) -> Precision:
    """Return the precision of a run.

    ``checkpoint_dtype``: type of the checkpoint's weights. float16 has a smaller range than bfloat16: weights
    and activations of a checkpoint trained in bfloat16 can overflow in it, so that combination is replaced.
    """
    return precision_of(options, *_compute_type(options.precision, device, checkpoint_dtype))


def precision_of(options: TrainingOptions, compute: str, reason: str) -> Precision:
    """Return the precision with a type of matrix products."""
    # Trained weights stay in float32; frozen ones may be as small as the computation.
    weights = FLOAT32 if options.adapter == "full" else compute
    return Precision(compute, weights, reason)


def can_compute(device: Device, compute: str) -> bool:
    """Return whether a device trains in a type without emulating it."""
    if compute == BFLOAT16:
        return device.has_fast_bfloat16
    return compute == FLOAT32 or not device.is_cpu


def _compute_type(precision: str, device: Device, checkpoint_dtype: str) -> tuple[str, str]:
    if precision == "auto":
        return _automatic(device, checkpoint_dtype)
    if precision == FLOAT16:
        return _half(device, checkpoint_dtype)
    if precision == BFLOAT16 and not device.has_fast_bfloat16:
        return FLOAT32, f"bfloat16 was requested, but {device.name} has no bfloat16 arithmetic"
    return precision, "requested"


def _automatic(device: Device, checkpoint_dtype: str) -> tuple[str, str]:
    if device.is_cpu:
        if device.has_fast_bfloat16 and checkpoint_dtype in (BFLOAT16, FLOAT16):
            return (
                BFLOAT16,
                f"the checkpoint is {checkpoint_dtype} and the CPU multiplies bfloat16 in hardware",
            )
        return FLOAT32, _cpu_reason(device, checkpoint_dtype)
    if device.has_fast_bfloat16:
        return BFLOAT16, f"{device.name} supports bfloat16, which has the range of float32"
    if checkpoint_dtype == BFLOAT16:
        return FLOAT32, f"the checkpoint is bfloat16, which {device.name} lacks and float16 can't represent"
    return FLOAT16, f"{device.name} supports float16 but not bfloat16"


def _cpu_reason(device: Device, checkpoint_dtype: str) -> str:
    if device.has_fast_bfloat16:
        return (
            f"the checkpoint is {checkpoint_dtype}, and in float32 a run on a CPU is reproducible and exact"
        )
    return "this CPU has no bfloat16 arithmetic"


def _half(device: Device, checkpoint_dtype: str) -> tuple[str, str]:
    if device.is_cpu:
        fallback = BFLOAT16 if device.has_fast_bfloat16 and checkpoint_dtype != FLOAT32 else FLOAT32
        return fallback, "float16 was requested, but a CPU can't train in it"
    if checkpoint_dtype == BFLOAT16:
        fallback = BFLOAT16 if device.has_fast_bfloat16 else FLOAT32
        return fallback, "float16 was requested, but the checkpoint is bfloat16, whose range float16 lacks"
    return FLOAT16, "requested"
