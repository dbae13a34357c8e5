"""The latest successful run of a base model: its speed and device, for estimates of the next run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.db.models import QuerySet

from training.choices import EventType, JobStatus
from training.models import FineTuningJob, JobEvent
from training.requests.memory_estimates import UNKNOWN_DEVICE, TrainingDevice


@dataclass(frozen=True, slots=True)
class PastRun:
    """A run. ``tokens_per_s``: of all tokens while it trained, evaluations between the steps included.

    ``overhead_s``: time besides the steps, to prepare the run, to compare its result with the base model and
    to publish it; None if the run was interrupted.
    """

    tokens_per_s: float
    overhead_s: float | None
    device: TrainingDevice


def latest_run(base_model: str, worker_class: str) -> PastRun | None:
    """Return the latest successful run of a base model on a worker class, of any tenant. Three queries."""
    job = _trained_jobs(base_model, worker_class).defer("report", "result").first()
    if job is None or job.tokens_per_s is None:
        return None
    return PastRun(job.tokens_per_s, _overhead_s(job), _device(job))


def latest_speed(base_model: str, worker_class: str) -> float | None:
    """Return the tokens per second of the latest successful run, None if there is none. One query."""
    return _trained_jobs(base_model, worker_class).values_list("tokens_per_s", flat=True).first()


def _trained_jobs(base_model: str, worker_class: str) -> QuerySet[FineTuningJob]:
    """Return successful jobs that have a speed, newest first. Publications of checkpoints have none."""
    jobs = FineTuningJob.objects.filter(
        base_model=base_model, worker_class=worker_class, status=JobStatus.SUCCEEDED, tokens_per_s__gt=0
    )
    return jobs.order_by("-finished_at")


def _overhead_s(job: FineTuningJob) -> float | None:
    if job.attempt_count != 1 or job.started_at is None or job.finished_at is None:
        return None
    steps = JobEvent.objects.filter(job=job, type=EventType.METRICS, data__has_key="elapsed_s")
    elapsed_s = steps.order_by("-number").values_list("data__elapsed_s", flat=True).first()
    if elapsed_s is None:
        return None
    return max(0.0, (job.finished_at - job.started_at).total_seconds() - float(elapsed_s))


def _device(job: FineTuningJob) -> TrainingDevice:
    """Return the device that the run reported, ``UNKNOWN_DEVICE`` if it reported none."""
    choices = JobEvent.objects.filter(job=job, type=EventType.MESSAGE, data__has_key="subject")
    rows = choices.order_by("number").values_list("data", flat=True)
    by_subject: Mapping[str, Mapping[str, Any]] = {data["subject"]: data for data in rows}
    figures = by_subject.get("gradient_checkpointing", {}).get("figures", {})
    if "available_bytes" not in figures:
        return UNKNOWN_DEVICE
    precision = UNKNOWN_DEVICE.precision
    if job.options.get("precision", "auto") == "auto":
        precision = by_subject.get("precision", {}).get("value", precision)
    return TrainingDevice(bool(figures["is_cpu"]), int(figures["available_bytes"]), str(precision))
