"""Validation of a new job's files with the tokenizer and chat template of its base model.

It runs on a training worker, beside the job that trains there, in a child process.
On a machine without the model's folder it does nothing: the trainer makes the same checks.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
from django.conf import settings
from django.db import connection, transaction

from inference_worker.telemetry.masking import trace_without_messages
from tenants.files.selectors import file_of_open_job
from tenants.outages import DATABASE_ERRORS, is_outage
from training.child_process import ChildResult, child_environment, run_child
from training.datasets.command import UNUSABLE_MODEL, check_arguments
from training.datasets.faults import clip
from training.datasets.report import DatasetReport, RunFigures
from training.jobs.failures import Failure
from training.jobs.past_runs import latest_speed
from training.jobs.state import job_fail, job_queue
from training.models import FineTuningJob
from training.queue.validation import (
    LEASE_S,
    ValidationClaim,
    ValidationLostError,
    require_claim,
    validation_claim,
    validation_release,
    validation_renew,
)
from training.requests.file_check import faults_text, stored_report
from training.requests.hyperparameters import resolve, training_options
from training.requests.memory_estimates import with_memory
from training.supervisor.celery_signals import DRAINING
from training.supervisor.folders import VALIDATION_PREFIX, training_root
from training.supervisor.trainer.inputs import InputError, copy_file
from training.temporary_folders import temporary_folder

logger = logging.getLogger("cyllm.training")

TIMEOUT_S = 1800.0
MEMORY_BYTES = 8 * 1024**3
RENEWALS_PER_LEASE = 4
MAX_REASON_LENGTH = 1000
_THIS_PROCESS = threading.Lock()  # the worker's other thread receives doorbells


class _DrainingError(Exception):
    """The worker shuts down."""


class _Lease:
    """The lease of one validation, renewed by the calls of ``check``."""

    def __init__(self, claim: ValidationClaim) -> None:
        self._claim = claim
        self._renew_at = 0.0
        self._postpone()

    def check(self) -> None:
        """Renew the lease when it is time. Raises ValidationLostError, _DrainingError."""
        if DRAINING.is_set():
            raise _DrainingError
        if time.monotonic() < self._renew_at:
            return
        self._postpone()
        try:
            validation_renew(self._claim)
        except DATABASE_ERRORS as error:
            if not is_outage(error):
                raise
            logger.warning("the validation can't be renewed: %s", type(error).__name__)
            connection.close()

    def _postpone(self) -> None:
        self._renew_at = time.monotonic() + LEASE_S / RENEWALS_PER_LEASE


def waiting_jobs_validate() -> int:
    """Validate the files of jobs until none waits; each is then queued or has failed. Returns their number.

    In one process, one validation runs at a time, as it takes time and memory.
    """
    if not _THIS_PROCESS.acquire(blocking=False):
        return 0
    try:
        count = 0
        while not DRAINING.is_set() and (claim := validation_claim()):
            _validate_claimed(claim)
            count += 1
        return count
    finally:
        _THIS_PROCESS.release()


def _validate_claimed(claim: ValidationClaim) -> None:
    """Validate the files. If that fails for another reason than their faults, leave it to the trainer."""
    try:
        record = _queue_action(claim.job) if claim.is_last else _verdict(claim.job, _Lease(claim).check)
    except ValidationLostError:
        return
    except _DrainingError:
        validation_release(claim)
        return
    except Exception as error:
        if is_outage(error):
            raise  # the lease ends, then another process claims the job
        # An exception of a storage library can contain host names and paths.
        logger.error("%s: not validated", claim.job.id, extra={"trace": trace_without_messages(error)})
        record = _queue_action(claim.job)
    try:
        with transaction.atomic():
            require_claim(claim)
            record()
    except ValidationLostError:
        logger.info("%s: its validation is not needed any more", claim.job.id)


def _queue_action(job: FineTuningJob, report: Mapping[str, Any] | None = None) -> Callable[[], object]:
    dataset_report = _structure(job) if report is None else report
    return lambda: job_queue(job_id=job.id, report=dataset_report)


def _verdict(job: FineTuningJob, check: Callable[[], None]) -> Callable[[], object]:
    """Validate the files; return what records the result."""
    folder = settings.CYLLM.training_models.get(job.base_model)
    if folder is None or not (folder / "tokenizer.json").is_file():
        return _queue_action(job)
    run = _run_figures(job, _structure(job))
    try:
        report = _check_copy(job, folder, "training_file", run, check)
        if job.validation_file:
            _check_copy(job, folder, "validation_file", run, check)
    except InputError as error:
        failure = error.failure
        return lambda: job_fail(job_id=job.id, code=failure.code, message=failure.text, param=failure.param)
    if report is None:
        return _queue_action(job)
    report = with_memory(report, training_options(job.options), folder)
    return _queue_action(job, stored_report(report))


def _structure(job: FineTuningJob) -> Mapping[str, Any]:
    file = file_of_open_job(file_id=job.training_file, tenant_id=job.tenant_id)
    return (file.dataset_report if file is not None else None) or {}


def _run_figures(job: FineTuningJob, structure: Mapping[str, Any]) -> RunFigures:
    values = resolve(
        method=job.method,
        hyperparameters=job.hyperparameters,
        options=job.options,
        examples=int(structure.get("examples") or 1),
        threads=None,
    )
    speed = latest_speed(job.base_model, job.worker_class)
    return RunFigures(epochs=values.n_epochs, batch_size=values.batch_size, tokens_per_s=speed)


def _check_copy(
    job: FineTuningJob, folder: Path, param: str, run: RunFigures, check: Callable[[], None]
) -> DatasetReport | None:
    """Return the report of a file, None if it can't be checked here. Raises InputError for its faults."""
    file_id: str = getattr(job, param)
    with temporary_folder(training_root(), VALIDATION_PREFIX) as directory:
        path = directory / "file.jsonl"
        try:
            copy_file(tenant_id=job.tenant_id, file_id=file_id, param=param, target=path, check=check)
        except InputError as error:
            if error.failure.is_transient:  # the trainer tries again
                return None
            raise
        report = _report(job, path, folder, run, check)
    if report is not None:
        _require_trainable(report, param, file_id)
    return report


def _report(
    job: FineTuningJob, path: Path, folder: Path, run: RunFigures, check: Callable[[], None]
) -> DatasetReport | None:
    options = check_arguments(run, method=job.method, max_length=job.options.get("max_length"))
    command = [sys.executable, "-m", "training.datasets", "check", str(path), "--json"]
    try:
        result = run_child(
            [*command, "--model", str(folder.absolute()), *options],
            environment=child_environment(os.environ),
            check=check,
            timeout_s=TIMEOUT_S,
            memory_bytes=MEMORY_BYTES,
        )
        if result.code == UNUSABLE_MODEL:
            raise InputError(_unusable_model(result))
        return msgspec.json.decode(result.output, type=DatasetReport)
    except TimeoutError:
        logger.warning("%s: the files were not validated within %g s", job.id, TIMEOUT_S)
    except msgspec.MsgspecError:
        logger.warning("%s: the files can't be validated here: %s", job.id, result.last_line)
    return None


def _unusable_model(result: ChildResult) -> Failure:
    reason = result.errors.decode(errors="replace").strip().rpartition("\n")[2].partition(": ")[2]
    return Failure(
        code="base_model_unreadable",
        message=f"The base model can't be used: {clip(reason, MAX_REASON_LENGTH)}.",
        next_step="The operator corrects the folder of the base model; then resume the job.",
        param="model",
    )


def _require_trainable(report: DatasetReport, param: str, file_id: str) -> None:
    if report.fault_count:
        raise InputError(
            Failure(
                code="invalid_dataset",
                message=f"The file {file_id} can't be used with this model: {faults_text(report)}",
                next_step="Correct these lines, upload the file again and create a new job.",
                param=param,
            )
        )
    if report.tokens is not None and report.tokens.samples == 0:
        reasons = ", ".join(f"{count} {reason}" for reason, count in report.tokens.dropped.items())
        raise InputError(
            Failure(
                code="no_trainable_examples",
                message=f"None of the {report.examples} examples in {file_id} can be trained on: {reasons}.",
                next_step="Raise cyllm.max_length or shorten the examples, and create a new job.",
                param=param,
            )
        )
