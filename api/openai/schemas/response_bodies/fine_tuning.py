"""Response bodies of fine-tuning jobs, their events and checkpoints."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field

from api.openai.schemas.response_bodies.base import Count, ResponseBody

EVENT_PREFIX = "ftevent-"

Auto: TypeAlias = Literal["auto"]
Status: TypeAlias = Literal["validating_files", "queued", "running", "succeeded", "failed", "cancelled"]


class JobHyperparameters(ResponseBody):
    """The hyperparameters in effect, as far as they have been determined; "auto" until then."""

    n_epochs: Count | Auto
    batch_size: Count | Auto
    learning_rate_multiplier: float | Auto


class JobDpoHyperparameters(JobHyperparameters):
    """Those of direct preference optimization."""

    beta: float | Auto


class JobSupervised(ResponseBody):
    """The configuration of supervised fine-tuning."""

    hyperparameters: JobHyperparameters


class JobDpo(ResponseBody):
    """The configuration of direct preference optimization."""

    hyperparameters: JobDpoHyperparameters


class JobMethod(ResponseBody):
    """The method of a job and its configuration."""

    type: Literal["supervised", "dpo"]
    supervised: JobSupervised | None = None
    dpo: JobDpo | None = None


class JobError(ResponseBody):
    """The cause of a job's failure. ``param``: the parameter at fault, such as ``training_file``."""

    code: str
    message: str
    param: str | None


class JobExtension(ResponseBody):
    """Fields of this platform.

    ``status``: as in OpenAI's field, apart from ``paused``. ``phase``: the current work of a running job.
    ``requested_action``: what it does at its next step. ``attempt``: number of the latest attempt.
    ``source_checkpoint``: the checkpoint that the job publishes instead of training.
    ``report``: the dataset report of the training file. ``result``: evaluation of the result against the base
    model, and its verification by an inference worker.
    """

    status: str
    phase: str | None
    paused: bool
    requested_action: str | None
    priority: Annotated[int, Field(ge=0, le=9)]
    worker_class: str
    attempt: Count
    step: Count
    total_steps: Count | None
    queued_at: Count | None
    started_at: Count | None
    source_checkpoint: str | None
    options: dict[str, Any]
    report: dict[str, Any] | None
    result: dict[str, Any] | None


class FineTuningJob(ResponseBody):
    """A fine-tuning job. A paused job has the status ``queued`` and ``cyllm.paused``."""

    object: Literal["fine_tuning.job"]
    id: str
    created_at: Count
    model: str
    organization_id: str
    status: Status
    training_file: str
    validation_file: str | None
    hyperparameters: JobHyperparameters
    method: JobMethod
    seed: Count
    metadata: dict[str, str] | None
    integrations: Annotated[list[Any], Field(max_length=0)]
    fine_tuned_model: str | None
    result_files: list[str]
    trained_tokens: Count | None
    finished_at: Count | None
    estimated_finish: Count | None
    error: JobError | None
    cyllm: JobExtension


class FineTuningJobList(ResponseBody):
    """Fine-tuning jobs, newest first."""

    object: Literal["list"]
    data: list[FineTuningJob]
    has_more: bool


class FineTuningJobEvent(ResponseBody):
    """An event of a job. ``data``: its figures, if it is of the type ``metrics``, or details of a message."""

    object: Literal["fine_tuning.job.event"]
    id: str
    created_at: Count
    level: Literal["info", "warn", "error"]
    message: str
    type: Literal["message", "metrics"]
    data: dict[str, Any] | None


class FineTuningJobEventList(ResponseBody):
    """Events of a job, newest first."""

    object: Literal["list"]
    data: list[FineTuningJobEvent]
    has_more: bool


class CheckpointMetrics(ResponseBody):
    """Metrics at a checkpoint's step. Those of the training are of the last batch."""

    step: Count
    train_loss: float | None = None
    train_mean_token_accuracy: float | None = None
    valid_loss: float | None = None
    valid_mean_token_accuracy: float | None = None
    full_valid_loss: float | None = None
    full_valid_mean_token_accuracy: float | None = None


class CheckpointExtension(ResponseBody):
    """Fields of this platform. ``is_best``: the checkpoint has the lowest validation loss so far.

    ``state``: whether it can be published as a model: ``publishable``; ``not_ended``, as its job has not;
    ``not_servable``, as engines don't load its kind of adapter; ``removed`` from the training workers;
    ``no_base``, as its base model is no longer available to the tenant.
    """

    is_best: bool
    state: Literal["publishable", "not_ended", "not_servable", "removed", "no_base"]


class FineTuningJobCheckpoint(ResponseBody):
    """A checkpoint, from which the job can continue. It becomes a model when it is published."""

    object: Literal["fine_tuning.job.checkpoint"]
    id: str
    created_at: Count
    fine_tuned_model_checkpoint: str
    fine_tuning_job_id: str
    step_number: Count
    metrics: CheckpointMetrics
    cyllm: CheckpointExtension


class FineTuningJobCheckpointList(ResponseBody):
    """Checkpoints of a job, newest first."""

    object: Literal["list"]
    data: list[FineTuningJobCheckpoint]
    has_more: bool
    first_id: str | None
    last_id: str | None
