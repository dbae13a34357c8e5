"""Jobs as trainers leave them, written through the services of training, without a trainer."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tenants.models import Tenant
    from training.models import FineTuningJob

MODEL = "qwen3-0.6b"
REPORT = {"examples": 100, "format": "chat", "method": "supervised"}


def job_with_steps(
    tenant: Tenant, steps: int, *, runs: bool = True, total: int = 200, **values: Any
) -> FineTuningJob:
    """Return a job of a tenant that a worker has trained for some steps, or only queued."""
    from training.jobs.services import job_insert
    from training.jobs.state import job_queue
    from training.requests.job_request import JobRequest

    defaults: dict[str, Any] = {"base_model": MODEL, "training_file": "file-train", "seed": 1}
    request = JobRequest(**defaults | values)
    job = job_insert(request, tenant=tenant, actor="user:owner")
    job_queue(job_id=job.id, report=REPORT)
    job.refresh_from_db()
    if runs:
        start_attempt(job, 0, total)
        write_steps(job, 1, steps, total=total)
    return job


def start_attempt(
    job: FineTuningJob, start_step: int, total: int = 200, sample_lines: bytes = b""
) -> uuid.UUID:
    """Let a worker claim this job and begin to train behind ``start_step``."""
    from django.db import transaction
    from django.utils import timezone

    from training.engine.events import Prepared
    from training.jobs.state import locked_job
    from training.models import JobAttempt
    from training.queue.claim import _start_attempt
    from training.supervisor.results.recording import events_record

    # Not job_claim(), which bounds the jobs of a tenant that run at once.
    with transaction.atomic():
        claim = _start_attempt(locked_job(job.id), "trainer-1", [job.base_model])
        # Nothing renews the lease of such an attempt.
        JobAttempt.objects.filter(id=claim.token).update(lease_until=timezone.now() + timedelta(hours=1))
    events_record(
        claim.token,
        Prepared(
            examples=100,
            tokens=20_000,
            trained_tokens=8_000,
            truncated=0,
            dropped=0,
            total_steps=total,
            start_step=start_step,
            sample_lines=sample_lines,
        ),
    )
    job.refresh_from_db()
    return claim.token


def running_token(job: FineTuningJob) -> uuid.UUID:
    """Return the token of the job's running attempt."""
    from training.models import JobAttempt

    return JobAttempt.objects.get(job=job, outcome="running").id


def write_steps(
    job: FineTuningJob, first: int, last: int, *, total: int = 200, elapsed_from: int = 0, **changes: Any
) -> None:
    """Record steps, with a falling loss; ``changes`` replace values of each."""
    from training.supervisor.results.recording import events_record

    token = running_token(job)
    for start in range(first, last + 1, 100):
        steps = range(start, min(last + 1, start + 100))
        events_record(token, *(_progress(step, total, elapsed_from, changes) for step in steps))
    job.refresh_from_db()


def _progress(step: int, total: int, elapsed_from: int, changes: dict[str, Any]) -> Any:
    from training.engine.events import Progress

    values: dict[str, Any] = {
        "step": step,
        "total_steps": total,
        "epoch": step / total * 3,
        "loss": 3.0 / (1 + step / 25) + (step * 7 % 5) / 20,
        "learning_rate": 2e-4,
        "grad_norm": 1.0 + (step * 3 % 7) / 10,
        "token_accuracy": 0.5,
        "trained_tokens": step * 1000,
        "tokens_per_s": 1200.0 + step % 9,
        "samples_per_s": 4.0,
        "elapsed_s": float(step - elapsed_from) * 2,
        "eta_s": float(total - step) * 2,
        "memory_bytes": 3 << 30,
        "gpu_utilization": 0.9,
        "gpu_memory_bytes": 9 << 30,
    }
    return Progress(**values | changes)


def evaluate(job: FineTuningJob, step: int, loss: float, *, is_best: bool = False) -> None:
    """Record an evaluation."""
    from training.engine.events import Evaluation
    from training.supervisor.results.recording import events_record

    event = Evaluation(step=step, loss=loss, perplexity=2.7**loss, token_accuracy=0.6, is_best=is_best)
    events_record(running_token(job), event)
    job.refresh_from_db()


def checkpoint(job: FineTuningJob, step: int, loss: float | None = None, *, is_best: bool = False) -> None:
    """Record a checkpoint."""
    from training.engine.events import CheckpointSaved
    from training.supervisor.results.recording import events_record

    event = CheckpointSaved(
        step=step,
        folder=f"step-{step}",
        train_loss=1.0,
        train_token_accuracy=0.5,
        valid_loss=loss,
        valid_token_accuracy=0.6,
        is_best=is_best,
    )
    events_record(running_token(job), event)
    job.refresh_from_db()
