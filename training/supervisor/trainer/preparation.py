"""Preparation of an attempt: files, hyperparameters in effect, and the trainer's specification."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path

import msgspec
from django.conf import settings

from training.choices import AttemptOutcome
from training.datasets.structure import check_structure
from training.engine.spec import TrainingOptions, TrainingSpec
from training.jobs.events import event_add
from training.jobs.failures import Failure
from training.models import FineTuningJob, JobAttempt
from training.queue.attempts import attempt_write
from training.requests.hyperparameters import PUBLISH, Hyperparameters, resolve, training_options
from training.supervisor.folders import JobFolder
from training.supervisor.persistence import Persist
from training.supervisor.trainer.diagnosis import OUT_OF_MEMORY
from training.supervisor.trainer.environment import default_threads
from training.supervisor.trainer.inputs import InputError, copy_file


def prepare(
    token: uuid.UUID,
    job: FineTuningJob,
    number: int,
    folder: JobFolder,
    *,
    check: Callable[[], None],
    persist: Persist,
) -> TrainingSpec:
    """Copy the files and write the specification. Raises InputError, and what the functions raise."""
    base_model = settings.CYLLM.training_models[job.base_model].absolute()
    _copy_files(job, folder, check, persist)
    values = _hyperparameters(token, job, folder, persist)
    spec = TrainingSpec(
        job_id=job.id,
        attempt=number,
        base_model=str(base_model),
        training_file=str(folder.training_file),
        validation_file=str(folder.validation_file) if job.validation_file else None,
        work_dir=str(folder.path),
        seed=job.seed,
        epochs=values.n_epochs,
        batch_size=values.batch_size,
        learning_rate=values.learning_rate,
        method="dpo" if job.method == "dpo" else "supervised",
        dpo_beta=values.beta,
        options=_options(job),
        threads=values.threads,
        lease_s=settings.CYLLM.training_lease_s,
        memory_bytes=settings.CYLLM.training_worker_classes.get(job.worker_class),
        memory_failures=persist(lambda: _memory_failures(job)),
        is_served=bool(job.options.get(PUBLISH, True)),
        correlation_id=job.correlation_id,
    )
    folder.spec.write_bytes(msgspec.json.encode(spec))
    return spec


def _copy_files(job: FineTuningJob, folder: JobFolder, check: Callable[[], None], persist: Persist) -> None:
    files = [("training_file", job.training_file, folder.training_file)]
    if job.validation_file:
        files.append(("validation_file", job.validation_file, folder.validation_file))
    for param, file_id, target in files:
        copy_file(
            tenant_id=job.tenant_id,
            file_id=file_id,
            param=param,
            target=target,
            check=check,
            persist=persist,
        )


def _options(job: FineTuningJob) -> TrainingOptions:
    try:
        return training_options(job.options)
    except msgspec.ValidationError as error:
        failure = Failure(code="invalid_options", message=f"The options of the job are invalid: {error}.")
        raise InputError(failure) from error


def _hyperparameters(
    token: uuid.UUID, job: FineTuningJob, folder: JobFolder, persist: Persist
) -> Hyperparameters:
    """Return the hyperparameters in effect, which the first attempt resolves and records for all others."""
    if job.resolved:
        return msgspec.convert(job.resolved, Hyperparameters)
    values = resolve(
        method=job.method,
        hyperparameters=job.hyperparameters,
        options=job.options,
        examples=_example_count(job, folder.training_file),
        threads=default_threads(),
    )
    persist(lambda: _record(token, values))
    return values


def _record(token: uuid.UUID, values: Hyperparameters) -> None:
    with attempt_write(token) as locked_attempt:
        locked_attempt.job.resolved = msgspec.to_builtins(values)
        locked_attempt.job.save(update_fields=["resolved"])
        message = (
            f"Hyperparameters: {values.n_epochs} epochs, batch size {values.batch_size}, "
            f"learning rate {values.learning_rate:g}"
        )
        event_add(locked_attempt.job, message, data=locked_attempt.job.resolved)


def _memory_failures(job: FineTuningJob) -> int:
    """Return how many attempts failed for lack of memory since the job was resumed after a failure."""
    attempts = JobAttempt.objects.filter(job=job, number__gt=job.forgiven_attempts)
    return attempts.filter(outcome=AttemptOutcome.FAILED, error_code=OUT_OF_MEMORY.code).count()


def _example_count(job: FineTuningJob, path: Path) -> int:
    if examples := (job.report or {}).get("examples"):
        return int(examples)
    return check_structure(path).examples
