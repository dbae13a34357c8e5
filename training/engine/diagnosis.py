"""Causes of a failed run: from an exception to a stable code, a cause and a next step."""

from __future__ import annotations

import re

from safetensors import SafetensorError

from training.datasets.faults import clip
from training.engine.attempt import UnsuitableHostError
from training.engine.checkpoints.store import CheckpointWriteError
from training.engine.disk_faults import Diagnosis, disk_fault, unwritable
from training.engine.hardware.memory_errors import is_out_of_memory
from training.engine.hardware.memory_prediction import InsufficientMemoryError
from training.engine.loop.trainer import NonFiniteError
from training.engine.models.weights import AdapterOptionsError, BaseModelError
from training.engine.objectives.batching import PackingError
from training.engine.objectives.dataset import TrainingDataError

MAX_REASON_LENGTH = 500
SMALLER_RUN = (
    "Resume the job on a worker with more free memory, or create it again with a smaller max_length or rank, "
    "or with gradient_checkpointing on."
)
SMALLER_MODEL = "Resume the job on a worker with more free memory, or train a smaller base model."
_OS_ERROR = re.compile(r"os error (\d+)")


def diagnose(error: BaseException) -> Diagnosis:
    """Return the diagnosis of an exception."""
    if is_out_of_memory(error):
        return _out_of_memory(error)
    match error:
        case InsufficientMemoryError():
            return Diagnosis("out_of_memory", f"Training needs {error}.", SMALLER_RUN, False)
        case NonFiniteError():
            return Diagnosis(
                "non_finite_loss",
                f"Training diverged: {error}.",
                "Lower the learning rate or learning_rate_multiplier, or use precision float32.",
                False,
            )
        case TrainingDataError():
            return Diagnosis(
                "invalid_dataset",
                str(error),
                "Correct the file (manage.py datasets check names its faults), upload it, start a new job.",
                False,
            )
        case PackingError():
            return Diagnosis("packing_not_possible", str(error), "Set packing to auto or off.", False)
        case AdapterOptionsError():
            return Diagnosis(
                "invalid_options",
                f"The base model can't have this adapter: {clip(str(error), MAX_REASON_LENGTH)}",
                "Choose other target_modules or another kind of adapter, and create the job again.",
                False,
            )
        case BaseModelError():
            return _base_model(error)
        case UnsuitableHostError():
            return _unsuitable_host(error)
        case CheckpointWriteError():
            cause = error.__cause__ or error
            return disk_fault(_error_number(cause)) or unwritable(type(cause).__name__)
    return disk_fault(_error_number(error)) or Diagnosis(
        "internal_error",
        f"The trainer failed unexpectedly: {type(error).__name__}. Its log has the traceback.",
        "Resume the job; if it fails again, report the traceback in the training worker's log.",
        True,
    )


def _out_of_memory(error: BaseException) -> Diagnosis:
    match error:
        case BaseModelError():
            cause, next_step = "Memory ran out while the base model was loaded.", SMALLER_MODEL
        case CheckpointWriteError():
            cause, next_step = "Memory ran out while a checkpoint was written.", SMALLER_RUN
        case _:
            cause, next_step = "Memory ran out even with a single example per forward pass.", SMALLER_RUN
    return Diagnosis("out_of_memory", cause, next_step, False)


def _unsuitable_host(error: BaseException) -> Diagnosis:
    return Diagnosis(
        "worker_unsuitable",
        f"The training worker can't continue this run as it began: {error}.",
        "The operator gives all training workers of a class equal processors or GPUs; then resume the job.",
        True,
    )


def _base_model(error: BaseException) -> Diagnosis:
    return Diagnosis(
        "base_model_unreadable",
        f"The base model can't be loaded: {error}",
        "The operator makes the folder of the base model complete and readable on the training worker; then "
        "resume the job.",
        False,
    )


def _error_number(error: BaseException) -> int | None:
    if isinstance(error, OSError):
        return error.errno
    if isinstance(error, SafetensorError) and (match := _OS_ERROR.search(str(error))):
        return int(match[1])
    return None
