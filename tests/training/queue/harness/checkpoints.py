"""Jobs of acme that have left checkpoints, and their publication by a worker in this process."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

from django.utils import timezone

from inference_worker.registry.services import model_register
from tests.people import Cast
from tests.training.queue.harness.jobs import queued_job
from tests.tuned import save_adapter
from training.choices import JobStatus
from training.datasets.tokens.preparation import prepare
from training.datasets.tokens.tokenizer import load_tokenizer
from training.engine.checkpoints.manifest import STATE, seal_folder
from training.engine.control import now
from training.jobs.checkpoint_jobs import checkpoint_publish
from training.models import FineTuningJob, JobCheckpoint
from training.publishing.agreement import Agreement, Difference, Tolerance
from training.queue.claim import job_claim
from training.supervisor.attempt import AttemptRun

EXACT = Difference(1e-6, 1e-7)
AGREEMENT = Agreement(24, EXACT, EXACT, Difference(2.0, 0.5), Tolerance(1e-3, 1e-4), 1.0, 0.01)


def use_training_folder(settings: Any, folder: Path, model: Path) -> None:
    """Let the training workers have this folder, and train “tiny”."""
    changes = {"training_dir": folder, "training_models": {"tiny": model}}
    settings.CYLLM = settings.CYLLM.model_copy(update=changes)


def ended_job(cast: Cast, *steps: int, **fields: Any) -> FineTuningJob:
    """Return a job that has succeeded and left checkpoints, the best one at the first step."""
    model_register(name="tiny", actor="tests")
    job = queued_job(
        cast.acme, base_model="tiny", training_file="file-1", suffix="mine", report={"examples": 9}, **fields
    )
    for step in steps:
        JobCheckpoint.objects.create(
            id=f"ftckpt_{uuid.uuid4().hex}",
            job=job,
            step=step,
            folder=f"step-{step:08d}",
            is_best=step == steps[0],
        )
    job.status, job.finished_at = JobStatus.SUCCEEDED, timezone.now()
    job.save(update_fields=["status", "finished_at"])
    return job


def save_checkpoint(folder: Path, checkpoint: JobCheckpoint, model: Path) -> Path:
    """Write what a trainer leaves: an adapter with a trainer's state, and the tokenised data."""
    path = folder / checkpoint.job_id / "checkpoints" / checkpoint.folder
    save_adapter(model, path, seed=checkpoint.step)
    (path / STATE).parent.mkdir()
    (path / STATE).write_text("{}")
    seal_folder(path)
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}]
    data = folder / "data.jsonl"
    data.write_text(json.dumps({"messages": turns}))
    prepare(data, folder / checkpoint.job_id / "tokens" / "training", load_tokenizer(model))
    return path


def publish(checkpoint: JobCheckpoint, cast: Cast) -> FineTuningJob:
    """Have a member publish a checkpoint."""
    return checkpoint_publish(
        tenant_id=cast.acme.id, job_id=checkpoint.job_id, checkpoint_id=checkpoint.id, actor="user:member"
    )


def work(job: FineTuningJob) -> None:
    """Let a worker claim the job and run it to its end."""
    claimed_at = now()
    claim = job_claim(worker_class="default", worker_id="w", base_models=["tiny"])
    assert claim is not None
    assert claim.job_id == job.id
    AttemptRun(claim, claimed_at=claimed_at).run()
    job.refresh_from_db()
