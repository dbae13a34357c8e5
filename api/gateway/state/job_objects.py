"""Fine-tuning jobs, events and checkpoints as the API shows them."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping
from typing import Any

from api.openai.schemas.response_bodies.fine_tuning import EVENT_PREFIX
from training.choices import END_STATUSES, JobStatus
from training.jobs.checkpoint_jobs import CheckpointState
from training.models import FineTuningJob, JobCheckpoint, JobEvent
from training.requests.hyperparameters import AUTO

JOB_PREFIX = "ftjob-"
SUPERVISED_HYPERPARAMETERS = ("n_epochs", "batch_size", "learning_rate_multiplier")


def job_object(job: FineTuningJob, tenant_slug: str) -> dict[str, Any]:
    """Return the job as ``fine_tuning.job``.

    OpenAI's statuses have none for paused jobs, so those are shown as queued, with ``cyllm.paused``.
    """
    hyperparameters = {**job.hyperparameters, **job.resolved}
    return {
        "object": "fine_tuning.job",
        "id": job.id,
        "created_at": _unix(job.created_at),
        "model": job.base_model,
        "organization_id": tenant_slug,
        "status": JobStatus.QUEUED if job.status == JobStatus.PAUSED else job.status,
        "training_file": job.training_file,
        "validation_file": job.validation_file or None,
        "hyperparameters": {name: hyperparameters.get(name, AUTO) for name in SUPERVISED_HYPERPARAMETERS},
        "method": {"type": job.method, job.method: {"hyperparameters": _of_method(job, hyperparameters)}},
        "seed": job.seed,
        "metadata": job.metadata or None,
        "integrations": [],
        "fine_tuned_model": job.fine_tuned_model or None,
        "result_files": (job.result or {}).get("result_files", []),
        "trained_tokens": job.trained_tokens if job.status in END_STATUSES else None,
        "finished_at": _unix(job.finished_at),
        "estimated_finish": _unix(job.estimated_finish),
        "error": _error(job),
        "cyllm": _extension(job),
    }


def _of_method(job: FineTuningJob, hyperparameters: Mapping[str, Any]) -> dict[str, Any]:
    names = SUPERVISED_HYPERPARAMETERS + (("beta",) if job.method == "dpo" else ())
    return {name: hyperparameters.get(name, AUTO) for name in names}


def _error(job: FineTuningJob) -> dict[str, Any] | None:
    if job.status != JobStatus.FAILED:
        return None
    return {"code": job.error_code, "message": job.error_message, "param": job.error_param or None}


def _extension(job: FineTuningJob) -> dict[str, Any]:
    return {
        "status": job.status,
        "phase": job.phase or None,
        "paused": job.status == JobStatus.PAUSED,
        "requested_action": job.requested_action or None,
        "priority": job.priority,
        "worker_class": job.worker_class,
        "attempt": job.attempt_count,
        "step": job.step,
        "total_steps": job.total_steps,
        "queued_at": _unix(job.queued_at),
        "started_at": _unix(job.started_at),
        "source_checkpoint": job.source_checkpoint_id,
        "options": job.options,
        "report": job.report,
        "result": job.result,
    }


def event_id(job_id: str, number: int) -> str:
    """Return the id of a job's event."""
    return f"{EVENT_PREFIX}{job_id.removeprefix(JOB_PREFIX)}-{number}"


def event_object(event: JobEvent) -> dict[str, Any]:
    """Return the event as ``fine_tuning.job.event``."""
    return {
        "object": "fine_tuning.job.event",
        "id": event_id(event.job_id, event.number),
        "created_at": _unix(event.at),
        "level": event.level,
        "message": event.message,
        "type": event.type,
        "data": event.data or None,
    }


def checkpoint_object(
    checkpoint: JobCheckpoint, job: FineTuningJob, model: str, state: CheckpointState
) -> dict[str, Any]:
    """Return the checkpoint as ``fine_tuning.job.checkpoint``; ``model`` is the name of the job's model."""
    return {
        "object": "fine_tuning.job.checkpoint",
        "id": checkpoint.id,
        "created_at": _unix(checkpoint.created_at),
        "fine_tuned_model_checkpoint": f"{model}:ckpt-step-{checkpoint.step}",
        "fine_tuning_job_id": job.id,
        "step_number": checkpoint.step,
        "metrics": {"step": checkpoint.step, **checkpoint.metrics},
        "cyllm": {"is_best": checkpoint.is_best, "state": state.value},
    }


def encode_json(value: Mapping[str, Any]) -> bytes:
    """Return the JSON of an object."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _unix(moment: dt.datetime | None) -> int | None:
    return None if moment is None else int(moment.timestamp())
