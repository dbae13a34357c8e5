"""Names of fine-tuned models."""

from __future__ import annotations

from training.models import FineTuningJob

MAX_LENGTH = 200
SHORT_ID = 8


def model_names(job: FineTuningJob) -> tuple[str, str]:
    """Return two names ``ft:<base>:<tenant>:<suffix>:<id>``: one with a short id, and one with all of it.

    For a job that publishes a checkpoint, the id is that of the checkpoint's job, followed by
    ``:ckpt-step-<n>``. The base model's name is cut if the whole is too long for the registry.
    """
    checkpoint = job.source_checkpoint
    source, ending = (job, "") if checkpoint is None else (checkpoint.job, f":ckpt-step-{checkpoint.step}")
    job_id = source.id.removeprefix("ftjob-")
    return _name(job, f"{job_id[:SHORT_ID]}{ending}"), _name(job, f"{job_id}{ending}")


def _name(job: FineTuningJob, ending: str) -> str:
    rest = f":{job.tenant.slug}:{job.suffix}:{ending}"
    return f"ft:{job.base_model[: MAX_LENGTH - len('ft:') - len(rest)]}{rest}"
