"""Memory and result of a run, predicted from options and model folder before there is a trainer."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import msgspec

from training.datasets.report import DatasetReport
from training.engine.hardware.memory_prediction import BYTES, memory_model, plan_memory, read_shape
from training.engine.spec import TrainingOptions


@dataclass(frozen=True, slots=True)
class TrainingDevice:
    """The device of a run, for its memory plan. ``precision``: the one that "auto" chooses there."""

    is_cpu: bool
    available_bytes: int
    precision: str


# A CPU without hardware for bfloat16 and with enough memory.
UNKNOWN_DEVICE = TrainingDevice(is_cpu=True, available_bytes=sys.maxsize, precision="float32")


def least_memory(options: TrainingOptions, folder: Path) -> int | None:
    """Return the least memory in bytes that a run with these options needs; None for an unknown model."""
    try:
        shape = read_shape(folder)
    except (OSError, ValueError, KeyError):
        return None
    precision = "bfloat16" if options.precision == "auto" else options.precision
    return memory_model(shape, options, precision).predict(
        options.micro_batch_tokens or 1, checkpoints_gradients=options.gradient_checkpointing != "off"
    )


def result_bytes(options: TrainingOptions, folder: Path) -> int | None:
    """Return the size of the trained weights of a whole model; None for adapters and unknown models."""
    if options.adapter != "full":
        return None
    try:
        return read_shape(folder).parameters * BYTES["float32"]
    except (OSError, ValueError, KeyError):
        return None


def with_memory(
    report: DatasetReport, options: TrainingOptions, folder: Path, device: TrainingDevice = UNKNOWN_DEVICE
) -> DatasetReport:
    """Return the report with the memory of the run added to its estimate, if it has an estimate.

    The memory is the peak that the trainer plans for these samples on this device.
    """
    if report.estimate is None:
        return report
    estimate = msgspec.structs.replace(
        report.estimate, memory_bytes=_planned_peak(report, options, folder, device)
    )
    return msgspec.structs.replace(report, estimate=estimate)


def _planned_peak(
    report: DatasetReport, options: TrainingOptions, folder: Path, device: TrainingDevice
) -> int | None:
    tokens = report.tokens
    if tokens is None or tokens.lengths is None:
        return None
    try:
        shape = read_shape(folder)
    except (OSError, ValueError, KeyError):
        return None
    precision = device.precision if options.precision == "auto" else options.precision
    model = memory_model(shape, options, precision, tokens.trained_tokens / tokens.tokens)
    longest = tokens.lengths.longest
    plan = plan_memory(model, options, device.available_bytes, longest, is_cpu=device.is_cpu)
    return plan.peak_bytes
