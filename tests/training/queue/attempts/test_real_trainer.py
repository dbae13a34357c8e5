"""The real trainer on a training worker that is killed in the middle, and whose disk then is full."""

from __future__ import annotations

import datetime as dt
import hashlib
import io
import json
import random
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from tenants.files.creation import NewFile, file_store
from tenants.files.models import Purpose
from tests.people import Cast
from tests.stacks import wait_until
from tests.training.queue.harness.celery_workers import LEASE_S, training_worker
from tests.training.queue.harness.jobs import messages, queued_job, wait_for_status
from training.jobs.services import job_resume
from training.models import FineTuningJob, JobAttempt
from training.queue.endings import BACKOFF_MAX_S
from training.queue.sweep import jobs_sweep

STEPS = 24


def chat(number: int) -> str:
    """Return a chat as a line of a training file."""
    question = {"role": "user", "content": f"What is {number} plus one?"}
    answer = {"role": "assistant", "content": f"It is {number + 1}."}
    return json.dumps({"messages": [question, answer]})


def weights(folder: Path, job: FineTuningJob) -> str:
    """Return the digest of a job's adapter."""
    [path] = (folder / "training" / job.id / "result").rglob("adapter_model.safetensors")
    return hashlib.sha256(path.read_bytes()).hexdigest()


def job_values(cast: Cast) -> dict[str, Any]:
    """Store a training file and return the attributes of a job with it."""
    content = io.BytesIO("\n".join(map(chat, range(STEPS * 2))).encode())
    new_file = NewFile(filename="sums.jsonl", purpose=Purpose.USER_DATA)
    file = file_store(tenant_id=cast.acme.id, content=content, new=new_file, actor="tests")
    return {
        "base_model": "tiny",
        "training_file": file.id,
        "hyperparameters": {"n_epochs": 1, "batch_size": 2},
        "options": {"checkpoint_steps": 5, "learning_rate": 1e-3},
        "seed": 3,
        "report": {"examples": STEPS * 2},
    }


@pytest.mark.django_db(transaction=True)
@pytest.mark.criterion("2.3", "2.4")
def test_a_killed_worker_and_a_full_disk_change_no_bit_of_the_adapter(
    cast: Cast, redis_client: Any, tiny_model: Path, tmp_path: Path, settings: Any
) -> None:
    settings.CYLLM = settings.CYLLM.model_copy(update={"training_lease_s": LEASE_S})
    values = job_values(cast)
    trainer = {
        "CYLLM_TRAINING_MODELS": f"tiny={tiny_model}",
        "CYLLM_TRAINING_COMMAND": "",
        "CYLLM_TRAINING_THREADS": "1",
    }
    killed_job = queued_job(cast.acme, **values)
    kill_after = random.randrange(6, STEPS - 5)
    with training_worker(tmp_path, "one", trainer) as worker:

        def has_come_far() -> bool:
            killed_job.refresh_from_db()
            return killed_job.step >= kill_after

        wait_until(has_come_far, f"step {kill_after}")
        worker.signal(signal.SIGKILL)
        worker.process.wait()
    file_blocks = tmp_path / "file_blocks"
    file_blocks.write_text("unlimited")
    script = tmp_path / "trainer.sh"
    command = f'exec {sys.executable} -m training.engine run "$1"'
    script.write_text(f"ulimit -f $(cat {file_blocks})\n{command}\n")
    full_disk = {"CYLLM_TRAINING_COMMAND": f"sh {script}", "CYLLM_TRAINING_MAX_ATTEMPTS": "2"}
    with training_worker(tmp_path, "two", {**trainer, **full_disk}):

        def is_lost() -> bool:
            return jobs_sweep() == 1

        wait_until(is_lost, "the attempt is lost")
        later = timezone.now() + dt.timedelta(seconds=BACKOFF_MAX_S / 2)
        FineTuningJob.objects.filter(id=killed_job.id).update(not_before=later)
        whole = queued_job(cast.acme, **values)  # runs first, while the other one is delayed
        wait_for_status(whole, "succeeded", 90)
        file_blocks.write_text("4")
        FineTuningJob.objects.filter(id=killed_job.id).update(not_before=None)
        jobs_sweep()
        wait_for_status(killed_job, "failed", 90)
        assert killed_job.error_code == "disk_full"
        assert killed_job.error_message.endswith("Free space on the training worker, then resume the job.")
        file_blocks.write_text("unlimited")
        job_resume(job_id=killed_job.id, actor="tests")
        wait_for_status(killed_job, "succeeded", 90)
    outcomes = JobAttempt.objects.filter(job=killed_job).order_by("number").values_list("outcome", flat=True)
    assert list(outcomes) == ["lost", "failed", "succeeded"]
    assert any("continuing after step" in message for message in messages(killed_job))
    assert weights(tmp_path, killed_job) == weights(tmp_path, whole), kill_after
