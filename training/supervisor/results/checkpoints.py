"""Publication of a checkpoint: copied from its job's folder, checked, and verified like any result."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from django.conf import settings

from inference_worker.protocol.adapter_archive import MEMBER_NAMES
from training.choices import JobPhase
from training.datasets.tokens.cache import open_cache
from training.datasets.tokens.probes import probe_prompts
from training.engine.checkpoints.manifest import InvalidCheckpointError, list_checkpoints, verify_checkpoint
from training.jobs.failures import Failure
from training.models import FineTuningJob, JobCheckpoint
from training.publishing.errors import PublishingError
from training.publishing.publish import publish_result
from training.queue.endings import Success
from training.supervisor.folders import FolderBusyError, JobFolder, job_folder, training_root
from training.supervisor.trainer.environment import default_threads, trainer_environment

CHECKPOINT = "checkpoint"


def publish_checkpoint(
    job: FineTuningJob, checkpoint: JobCheckpoint, *, report_phase: Callable[[JobPhase], None]
) -> Success:
    """Verify and store a checkpoint as the result of ``job``.

    Raises PublishingError, FolderBusyError, OSError, and what the report raises.
    """
    own_folder = job_folder(job.id)
    folder = own_folder.path / CHECKPOINT
    with own_folder.lock(settings.CYLLM.training_lease_s):  # against an earlier attempt that was frozen
        prompts = _copy(checkpoint, folder)
    threads = default_threads()
    publication = publish_result(
        job,
        folder,
        prompts,
        report_phase=report_phase,
        environment=trainer_environment(threads, os.environ),
        threads=threads,
    )
    return Success(
        register=publication.register,
        artifact_sha256=publication.sha256,
        result={
            "result_files": [],
            "step": checkpoint.step,
            "reason": "checkpoint",
            "verification": publication.verification,
        },
        trained_tokens=0,
    )


def _copy(checkpoint: JobCheckpoint, target: Path) -> tuple[tuple[int, ...], ...]:
    """Copy the adapter and return prompts of its data. Raises PublishingError, OSError."""
    source = JobFolder(training_root() / checkpoint.job_id)
    if not list_checkpoints(source.checkpoints):
        raise _elsewhere(checkpoint)
    try:
        # Under the lock, the folder is neither removed nor in use by its own job.
        with source.lock(settings.CYLLM.training_lease_s):
            return _copy_from(source, checkpoint, target)
    except FolderBusyError:
        raise _in_use(checkpoint) from None


def _copy_from(source: JobFolder, checkpoint: JobCheckpoint, target: Path) -> tuple[tuple[int, ...], ...]:
    folder = source.checkpoints / Path(checkpoint.folder).name
    if not folder.is_dir():
        raise _missing(checkpoint)
    _verify(checkpoint, folder)
    _copy_adapter(folder, target)
    for name in ("validation", "training"):
        if (cache := open_cache(source.path / "tokens" / name)) is not None:
            return probe_prompts(cache)
    raise _missing(checkpoint)


def _copy_adapter(folder: Path, target: Path) -> None:
    """Copy the files of an adapter. Raises OSError and leaves nothing, as the disk may be full."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    try:
        for name in MEMBER_NAMES:
            if (folder / name).is_file():  # what is missing is named by the adapter's check
                shutil.copyfile(folder / name, target / name)
    except OSError:
        shutil.rmtree(target, ignore_errors=True)
        raise


def _verify(checkpoint: JobCheckpoint, folder: Path) -> None:
    try:
        verify_checkpoint(folder)
    except InvalidCheckpointError as error:
        message = f"The checkpoint of step {checkpoint.step} is damaged: {error}."
        next_step = "Publish another checkpoint, or create the job again."
        failure = Failure(code="checkpoint_damaged", message=message, next_step=next_step)
        raise PublishingError(failure) from None


def _in_use(checkpoint: JobCheckpoint) -> PublishingError:
    """Return the error of a checkpoint whose job was resumed before the publication began."""
    message = f"The job of the checkpoint of step {checkpoint.step} is running again and uses its folder."
    next_step = f"Resume the publication when {checkpoint.job_id} has ended."
    failure = Failure(code="checkpoint_unavailable", message=message, next_step=next_step, is_transient=True)
    return PublishingError(failure)


def _elsewhere(checkpoint: JobCheckpoint) -> PublishingError:
    """Return the error of a training worker that has no checkpoint of the job at all."""
    message = f"The training worker does not have the checkpoint of step {checkpoint.step}."
    next_step = (
        f"The operator gives all training workers of the class '{checkpoint.job.worker_class}' the same "
        "CYLLM_TRAINING_DIR; then publish it again. If the checkpoint is lost, create the job again."
    )
    return PublishingError(Failure(code="checkpoint_not_found", message=message, next_step=next_step))


def _missing(checkpoint: JobCheckpoint) -> PublishingError:
    message = f"The training workers no longer have the checkpoint of step {checkpoint.step}."
    next_step = "Publish a later checkpoint, or create the job again with a larger keep_checkpoints."
    return PublishingError(Failure(code="checkpoint_not_found", message=message, next_step=next_step))
