"""Check of the checkpoint that an attempt continues from; without it, training would start over unnoticed."""

from __future__ import annotations

from training.engine.checkpoints.manifest import list_checkpoints
from training.jobs.failures import Failure
from training.models import FineTuningJob, JobCheckpoint
from training.supervisor.folders import JobFolder
from training.supervisor.persistence import Persist
from training.supervisor.trainer.inputs import InputError


def require_checkpoint(job: FineTuningJob, folder: JobFolder, persist: Persist) -> None:
    """Check that the job's folder has its latest recorded checkpoint, or a later one. Raises InputError.

    Checkpoints beyond the job's step don't count: an attempt that got further could not be continued.
    """
    step = persist(lambda: _latest_step(job))
    if step is None:
        return
    stored_steps = [checkpoint.step for checkpoint in list_checkpoints(folder.checkpoints)]
    if max(stored_steps, default=0) < step:
        raise InputError(_unavailable(job, step))


def _latest_step(job: FineTuningJob) -> int | None:
    """Return the latest step with a checkpoint that was saved since the job last began anew."""
    rows = JobCheckpoint.objects.filter(job=job, step__lte=job.step, is_outdated=False)
    return rows.order_by("-step").values_list("step", flat=True).first()


def _unavailable(job: FineTuningJob, step: int) -> Failure:
    return Failure(
        code="checkpoint_unavailable",
        message=f"The training worker does not have the checkpoint of step {step} that the job needs.",
        next_step=f"The operator gives all training workers of the class '{job.worker_class}' the same "
        "CYLLM_TRAINING_DIR; then resume the job. If the checkpoint is lost, create the job again.",
        is_transient=True,
    )
