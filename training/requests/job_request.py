"""A request for a fine-tuning job, as the API and the commands pass it to ``services.job_create``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

DEFAULT_PRIORITY = 5
DEFAULT_WORKER_CLASS = "default"


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRequest:
    """A request to create a job.

    ``hyperparameters``: those that were requested, "auto" included. ``options``: the requested fields of
    ``training.requests.hyperparameters.JobOptions``. ``seed`` None means random.
    """

    base_model: str
    training_file: str
    validation_file: str | None = None
    method: str = "supervised"
    suffix: str = ""
    hyperparameters: Mapping[str, object] = field(default_factory=dict)
    options: Mapping[str, object] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    seed: int | None = None
    priority: int = DEFAULT_PRIORITY
    worker_class: str = DEFAULT_WORKER_CLASS
