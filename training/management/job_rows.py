"""Rows of jobs, attempts, checkpoints and events for tables and JSON."""

from __future__ import annotations

import json

from backoffice.command_base import Row
from training.models import FineTuningJob, JobAttempt, JobCheckpoint, JobEvent


def job_row(job: FineTuningJob) -> dict[str, object]:
    """Return the columns of a job in lists."""
    progress = f"{job.step}/{job.total_steps}" if job.total_steps else ""
    return {
        "id": job.id,
        "tenant": job.tenant.slug,
        "status": str(job.status),
        "phase": str(job.phase or job.requested_action),
        "progress": progress,
        "priority": job.priority,
        "base_model": job.base_model,
        "created_at": job.created_at,
        "fine_tuned_model": job.fine_tuned_model,
    }


def job_details(job: FineTuningJob) -> dict[str, object]:
    """Return all columns of a job that people need."""
    names = (
        *("id", "created_by", "base_model", "suffix", "method", "status", "phase", "requested_action"),
        *("priority", "worker_class", "training_file", "validation_file", "seed", "hyperparameters"),
        *("resolved", "options", "metadata", "created_at", "queued_at", "not_before", "started_at"),
        *("finished_at", "estimated_finish", "attempt_count", "step", "total_steps", "trained_tokens"),
        *("result", "fine_tuned_model", "artifact_sha256", "error_code", "error_message", "error_param"),
        "correlation_id",
    )
    details = {"tenant": job.tenant.slug} | {name: getattr(job, name) for name in names}
    return details | {"source_checkpoint": job.source_checkpoint_id}


def attempt_row(attempt: JobAttempt) -> Row:
    """Return the columns of an attempt."""
    names = ("number", "worker_id", "outcome", "claimed_at", "lease_until", "ended_at", "error_code")
    return {"attempt" if name == "number" else name: getattr(attempt, name) for name in names}


def checkpoint_row(checkpoint: JobCheckpoint) -> Row:
    """Return the columns of a checkpoint."""
    names = ("id", "step", "folder", "is_best", "created_at")
    return {"checkpoint" if name == "id" else name: getattr(checkpoint, name) for name in names}


def event_row(event: JobEvent) -> dict[str, object]:
    """Return the columns of an event."""
    names = ("number", "at", "level", "message")
    return {name: getattr(event, name) for name in names}


def cell_text(value: object) -> object:
    """Return a value as the cell of a table: JSON if it has parts, None if it is empty."""
    return (
        json.dumps(value, ensure_ascii=False) if isinstance(value, (dict, list)) and value else value or None
    )
