"""The checkpoints of a job with what can be done with each: try its model, publish it, or why not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.utils.translation import gettext

from inference_worker.registry.models import ServedModel
from training.choices import END_STATUSES, JobStatus
from training.jobs.checkpoint_jobs import CheckpointRefusedError, CheckpointState, checkpoint_states
from training.jobs.selectors import checkpoints
from training.models import FineTuningJob, JobCheckpoint
from training.requests.refusals import TooManyJobs


@dataclass(frozen=True, slots=True)
class CheckpointRow:
    """A checkpoint. ``model``: its name if it is a model. ``publication``: the latest job that published it.

    ``obstacle``: why it can't be published, empty if it can be.
    """

    checkpoint: JobCheckpoint
    model: str
    publication: FineTuningJob | None
    obstacle: str

    @property
    def is_publishing(self) -> bool:
        """True if a job publishes it at the moment."""
        return self.publication is not None and self.publication.status not in END_STATUSES

    @property
    def has_failed(self) -> bool:
        """True if the latest publication failed."""
        return self.publication is not None and self.publication.status == JobStatus.FAILED


def latest_checkpoints(job: FineTuningJob, limit: int) -> list[JobCheckpoint]:
    """Return a job's latest checkpoints, newest first, and the best one. At most two queries."""
    rows = checkpoints(job)
    latest = list(rows[:limit])
    if len(latest) < limit:
        return latest
    return [*latest, *rows.filter(is_best=True, step__lt=latest[-1].step)[:1]]


def checkpoint_rows(job: FineTuningJob, limit: int) -> list[CheckpointRow]:
    """Return a job's latest checkpoints, newest first, and the best one. At most six queries."""
    rows = latest_checkpoints(job, limit)
    if not rows:
        return []
    by_checkpoint = _publications(job, rows)
    names = {job.fine_tuned_model, *(each.fine_tuned_model for each in by_checkpoint.values())} - {""}
    models = set(ServedModel.objects.filter(name__in=names).values_list("name", flat=True))
    states = checkpoint_states(job)
    return [_row(job, row, by_checkpoint.get(row.id), models, states.of(row)) for row in rows]


def _publications(job: FineTuningJob, rows: Sequence[JobCheckpoint]) -> dict[str, FineTuningJob]:
    """Return the latest publication of each checkpoint."""
    jobs = FineTuningJob.objects.filter(tenant=job.tenant_id, source_checkpoint__in=[row.id for row in rows])
    publications = jobs.order_by("created_at", "id").defer("report", "result")
    return {str(each.source_checkpoint_id): each for each in publications}


def _row(
    job: FineTuningJob,
    row: JobCheckpoint,
    publication: FineTuningJob | None,
    models: set[str],
    state: CheckpointState,
) -> CheckpointRow:
    names = [publication.fine_tuned_model] if publication else []
    if result_step(job) == row.step:
        names.insert(0, job.fine_tuned_model)
    model = next((name for name in names if name in models), "")
    return CheckpointRow(row, model, publication, obstacle_text(state))


def result_step(job: FineTuningJob) -> int | None:
    """Return the step whose weights are the job's result: the last one, or the best with early stopping."""
    step = (job.result or {}).get("result", {}).get("step")
    return step if isinstance(step, int) else None


def refusal_text(error: CheckpointRefusedError) -> str:
    """Return why a checkpoint was not published, in the current language."""
    if isinstance(error.obstacle, TooManyJobs):
        values = {"limit": error.obstacle.limit}
        return gettext("The tenant's limit of %(limit)d unfinished jobs is reached.") % values
    return obstacle_text(error.obstacle)


def obstacle_text(state: CheckpointState) -> str:
    """Return why a checkpoint in this state can't be published, empty if it can be."""
    match state:
        case CheckpointState.NOT_ENDED:
            return gettext("It can be published when the job has ended.")
        case CheckpointState.NOT_SERVABLE:
            return gettext("Only adapters of the kind “lora” can be served.")
        case CheckpointState.REMOVED:
            return gettext("The training workers no longer have it.")
        case CheckpointState.NO_BASE:
            return gettext("Its base model is no longer available.")
    return ""
