"""Errors of fine-tuning jobs."""

from __future__ import annotations

from typing_extensions import override

from api.openai.errors.base import ApiError
from api.openai.errors.retry_after import NO_RETRY, retry_after

JOB_RETRY_S = 60


class FineTuningJobNotFound(
    ApiError,
    code="fine_tuning_job_not_found",
    status=404,
    message="The fine-tuning job '{job_id}' does not exist or you do not have access to it.",
    fix="Check the id, or list the jobs of this tenant with `GET /v1/fine_tuning/jobs`.",
):
    job_id: str


class CheckpointNotFound(
    ApiError,
    code="fine_tuning_checkpoint_not_found",
    status=404,
    message="The fine-tuning job '{job_id}' has no checkpoint '{checkpoint_id}'.",
    fix="List the checkpoints of the job with `GET /v1/fine_tuning/jobs/{id}/checkpoints`.",
):
    job_id: str
    checkpoint_id: str


class CheckpointNotPublishable(
    ApiError,
    code="checkpoint_not_publishable",
    status=400,
    message="The checkpoint '{checkpoint_id}' can't be published: {reason}.",
    fix="Publish a checkpoint whose `cyllm.state` is `publishable`. Training workers keep the best one and "
    "the last `cyllm.keep_checkpoints`, for `CYLLM_TRAINING_RETENTION_H` hours after the end of the job.",
):
    checkpoint_id: str
    reason: str


class ModelNotDeletable(
    ApiError,
    code="model_not_deletable",
    status=403,
    message="The model '{model}' can't be deleted: {reason}.",
    fix="Delete only fine-tuned models of your own tenant; operators: `manage.py models remove` removes "
    "others.",
):
    model: str
    reason: str


class ModelNotTrainable(
    ApiError,
    code="model_not_trainable",
    status=400,
    message="The model '{model}' can't be fine-tuned: {reason}.",
    fix="Use a model that the message names; operators: add the model to `CYLLM_TRAINING_MODELS`.",
):
    model: str
    reason: str


class DatasetFileNotFound(
    ApiError,
    code="dataset_file_not_found",
    status=400,
    message="The file '{file_id}' does not exist or you do not have access to it.",
    fix="Upload the file with `POST /v1/files` and the purpose `fine-tune`, and send the id that it returns.",
):
    param: str
    file_id: str


class WrongFilePurpose(
    ApiError,
    code="wrong_file_purpose",
    status=400,
    message="The file '{file_id}' has the purpose '{purpose}'. Expected 'fine-tune'.",
    fix="Upload the file again with the purpose `fine-tune`.",
):
    param: str
    file_id: str
    purpose: str


class WrongDatasetFormat(
    ApiError,
    code="wrong_dataset_format",
    status=400,
    message="The file '{file_id}' has the format '{format}', but the method '{method}' requires {expected}.",
    fix="Use a file of a format that the message names, or the method that fits the file.",
):
    param: str
    file_id: str
    format: str
    method: str
    expected: str


class InvalidDataset(
    ApiError,
    code="invalid_dataset",
    status=400,
    message="The file '{file_id}' can't be used for training: {reason}.",
    fix="Correct the file and upload it again; `manage.py datasets check` reports all faults of a file.",
):
    param: str
    file_id: str
    reason: str


class NotEnoughMemory(
    ApiError,
    code="not_enough_memory",
    status=400,
    message="Training needs about {needed} of memory, but the training workers have {available}.",
    fix="Lower `cyllm.max_length` or `cyllm.rank`, set `cyllm.gradient_checkpointing` to `on`, use the "
    "adapter `lora`, or use a worker class with more memory.",
):
    param: str
    needed: str
    available: str


class InvalidJobState(
    ApiError,
    code="invalid_job_state",
    status=400,
    message="The fine-tuning job '{job_id}' can't be {action}: its status is {state}.",
    fix="Cancel or pause only jobs that have not ended. Resume a paused job, or one that failed for a cause "
    "outside of it, such as a full disk; otherwise create a new job.",
):
    job_id: str
    action: str
    state: str


class TooManyJobs(
    ApiError,
    code="too_many_jobs",
    status=429,
    message="This tenant already has {limit} fine-tuning jobs that have not ended.",
    fix="Wait until one ends, or cancel one; operators: increase `CYLLM_TRAINING_OPEN_JOBS`.",
):
    """Jobs take minutes or more, so OpenAI's SDKs don't repeat the request."""

    limit: int

    @override
    def __post_init__(self) -> None:
        self.headers = {**NO_RETRY, **retry_after(JOB_RETRY_S), **self.headers}
        super().__post_init__()
