"""Checks of a request against its files."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from math import ceil
from typing import Any

from tenants.files.models import Purpose, StoredFile
from tenants.files.selectors import file_find_for_use
from training.datasets.formats.detection import METHOD_CONTENTS
from training.engine.spec import PARTS, TrainingOptions
from training.requests.hyperparameters import JobOptions, resolve
from training.requests.job_request import JobRequest
from training.requests.refusals import (
    FileMissing,
    InvalidValue,
    JobRefusedError,
    UnusableDataset,
    WrongFormat,
    WrongPurpose,
)


def check_files(request: JobRequest, options: JobOptions, tenant_id: uuid.UUID) -> None:
    """Check the files. Raises JobRefusedError for the first reason to refuse a job.

    Locks the files until the end of the transaction, so they can't be deleted before the job refers to them.
    """
    report = _dataset(request, tenant_id, request.training_file, "training_file")
    if request.validation_file is not None:
        _dataset(request, tenant_id, request.validation_file, "validation_file")
    if report is not None:
        _check_steps(request, options, report)


def _dataset(request: JobRequest, tenant_id: uuid.UUID, file_id: str, param: str) -> Mapping[str, Any] | None:
    """Return the report of a file, None if it has none."""
    file = file_find_for_use(file_id=file_id, tenant_id=tenant_id) if "\0" not in file_id else None
    if file is None:
        raise JobRefusedError(FileMissing(param, file_id))
    if file.purpose != Purpose.FINE_TUNE:
        raise JobRefusedError(WrongPurpose(param, file_id, file.purpose))
    report: Mapping[str, Any] | None = file.dataset_report
    if report is not None:
        _check_report(request.method, file, report, param)
    return report


def _check_report(method: str, file: StoredFile, report: Mapping[str, Any], param: str) -> None:
    if not report["examples"]:  # its faults would have been refused at upload
        raise JobRefusedError(UnusableDataset(param, file.id, "it has no examples"))
    if report["method"] != method:
        raise JobRefusedError(WrongFormat(param, file.id, report["format"], method, METHOD_CONTENTS[method]))


def _check_steps(request: JobRequest, options: TrainingOptions, report: Mapping[str, Any]) -> None:
    """Refuse intervals, a patience and a warm-up that the run is too short for."""
    run = resolve(
        method=request.method,
        hyperparameters=request.hyperparameters,
        options={"adapter": options.adapter},
        examples=report["examples"],
        threads=None,
    )
    steps = -(-int(report["examples"]) // run.batch_size) * run.n_epochs
    if options.warmup_ratio and steps == 1:
        reason = "the whole run has 1 step, and a warm-up starts from a learning rate of 0"
        raise JobRefusedError(InvalidValue("cyllm.warmup_ratio", reason))
    if options.eval_steps is not None and options.eval_steps > steps:
        raise JobRefusedError(InvalidValue("cyllm.eval_steps", f"the whole run has about {steps} steps"))
    if options.early_stopping is not None:
        evaluations = ceil(steps / (options.eval_steps or ceil(steps / PARTS)))
        if options.early_stopping.patience >= evaluations:  # the first one always improves
            reason = f"the whole run has about {evaluations} evaluations, so it could never stop early"
            raise JobRefusedError(InvalidValue("cyllm.early_stopping.patience", reason))
