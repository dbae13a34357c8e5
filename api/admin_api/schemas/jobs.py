"""Schemas of fine-tuning jobs."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

from api.admin_api.schemas.base import Answer, ListAnswer, ListQuery, Moment

StatusName: TypeAlias = Literal[
    "validating_files", "queued", "running", "paused", "succeeded", "failed", "cancelled"
]


class JobError(Answer):
    """The cause of a failure."""

    code: str
    message: str
    param: str | None


class Job(Answer):
    """A fine-tuning job."""

    object: Literal["fine_tuning_job"] = "fine_tuning_job"
    id: str
    tenant: str
    status: StatusName
    phase: str | None
    requested_action: str | None
    base_model: str
    method: str
    fine_tuned_model: str | None
    created_by: str
    training_file: str
    validation_file: str | None
    hyperparameters: dict[str, Any]
    metadata: dict[str, str]
    priority: int
    worker_class: str
    attempts: int
    step: int
    total_steps: int | None
    trained_tokens: int | None
    error: JobError | None
    created_at: Moment
    started_at: Moment | None
    finished_at: Moment | None
    estimated_finish: Moment | None


class JobList(ListAnswer):
    """Jobs, newest first."""

    data: list[Job]


CheckpointStateName: TypeAlias = Literal["publishable", "not_ended", "not_servable", "removed", "no_base"]


class Checkpoint(Answer):
    """A checkpoint of a job. ``state``: whether it can be published as a model, or why not."""

    object: Literal["checkpoint"] = "checkpoint"
    id: str
    step: int
    is_best: bool
    metrics: dict[str, float]
    state: CheckpointStateName
    created_at: Moment


class CheckpointList(ListAnswer):
    """Checkpoints, newest first."""

    data: list[Checkpoint]


class JobsQuery(ListQuery):
    """Filters of jobs."""

    status: StatusName | None = None
