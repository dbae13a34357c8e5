"""Checks of a new job before it exists, in the order in which they are reported."""

from __future__ import annotations

from pathlib import Path

from training.engine.spec import TrainingOptions
from training.requests.checks.base_model import base_folder, check_base, check_engine
from training.requests.checks.request import check_request
from training.requests.hyperparameters import JobOptions
from training.requests.job_request import JobRequest
from training.requests.memory_estimates import least_memory, result_bytes
from training.requests.refusals import InvalidValue, JobRefusedError, MemoryShortage
from training.settings import TrainingSettings

GIB = 1 << 30


def check_settings(
    request: JobRequest,
    options: JobOptions,
    engine_rank: int | None,
    limits: TrainingSettings,
    max_file_bytes: int,
) -> None:
    """Check all but the files. Raises JobRefusedError for the first reason to refuse a job.

    It reads the model's folder, so it belongs before any transaction. ``engine_rank``: highest rank that
    ready workers of the model load, None if there is none. ``max_file_bytes``: largest file of a tenant.
    """
    check_request(request, options)
    folder = base_folder(request.base_model, limits)
    if options.publish and engine_rank is not None:
        check_engine(request.base_model, options, engine_rank)
    check_base(options, folder)
    _check_worker(request.worker_class, options, limits, folder)
    _check_result(options, folder, max_file_bytes)


def _check_worker(
    worker_class: str, options: TrainingOptions, limits: TrainingSettings, folder: Path
) -> None:
    classes = limits.training_worker_classes
    if worker_class not in classes:
        names = ", ".join(f"'{name}'" for name in sorted(classes))
        raise JobRefusedError(
            InvalidValue("cyllm.worker_class", f"there are no such workers; use one of {names}")
        )
    available = classes[worker_class]
    if available is None:
        return
    least_bytes = least_memory(options, folder)
    if least_bytes is not None and least_bytes > available:
        raise JobRefusedError(MemoryShortage(_gib(least_bytes), _gib(available)))


def _check_result(options: JobOptions, folder: Path, max_file_bytes: int) -> None:
    size = result_bytes(options, folder)
    if size is not None and size > max_file_bytes:
        reason = (
            f"the result takes about {_gib(size)}, but a file has at most {_gib(max_file_bytes)}; "
            "use 'lora', or ask the operator to allow larger files"
        )
        raise JobRefusedError(InvalidValue("cyllm.adapter", reason))


def _gib(size: int) -> str:
    return f"{size / GIB:.1f} GiB"
