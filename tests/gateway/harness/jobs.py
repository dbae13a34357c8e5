"""Fine-tuning jobs for tests: files, requests, and what a training worker records in the course of a job."""

from __future__ import annotations

import io
import json
import uuid
from collections.abc import Mapping
from functools import partial
from typing import Any

from openai import BaseModel

from api.gateway.app import Gateway
from tenants.files.creation import NewFile, file_store
from tenants.files.models import Purpose, StoredFile
from tests.gateway.harness.driver import Reply, call
from tests.gateway.harness.threads import in_thread
from tests.openapi_validation import answer_faults
from training.datasets.structure import check_structure
from training.engine import events
from training.jobs.failures import Failure
from training.models import FineTuningJob
from training.queue.claim import job_claim
from training.queue.endings import Success, attempt_fail, attempt_stop, attempt_succeed
from training.requests.file_check import stored_report
from training.supervisor.file_validation import waiting_jobs_validate
from training.supervisor.results.recording import events_record

JOBS = "/v1/fine_tuning/jobs"
CHAT_LINE = {
    "messages": [{"role": "user", "content": "Where is it?"}, {"role": "assistant", "content": "Here."}]
}
PAIR_LINE = {
    "input": {"messages": [{"role": "user", "content": "Where is it?"}]},
    "preferred_output": [{"role": "assistant", "content": "Here."}],
    "non_preferred_output": [{"role": "assistant", "content": "No."}],
}
EXAMPLES = 8
STEPS = 4


def jsonl(line: Mapping[str, Any], count: int = EXAMPLES) -> bytes:
    """Return ``count`` different examples."""
    text = json.dumps(line)
    return "".join(text.replace("it?", f"number {number}?") + "\n" for number in range(count)).encode()


def store_file(tenant_id: str, content: bytes, purpose: str = "fine-tune", **changes: Any) -> str:
    """Store a file as an upload does, and return its id. ``changes``: columns to change afterwards."""
    report = stored_report(check_structure(io.BytesIO(content))) if purpose == "fine-tune" else None
    new = NewFile(filename="data.jsonl", purpose=Purpose(purpose), dataset_report=report)
    file = file_store(tenant_id=uuid.UUID(tenant_id), content=io.BytesIO(content), new=new, actor="tests")
    if changes:
        StoredFile.objects.filter(id=file.id).update(**changes)
    return str(file.id)


async def chat_file(tenant_id: str) -> str:
    """Store a file of chats and return its id."""
    return await in_thread(partial(store_file, tenant_id, jsonl(CHAT_LINE)))


async def create(gateway: Gateway, key: str, file_id: str, **changes: Any) -> Reply:
    """Request a job on the model ``tiny``. A value of ``...`` removes the field."""
    body = {"model": "tiny", "training_file": file_id, **changes}
    body = {name: value for name, value in body.items() if value is not ...}
    return await call(gateway, "POST", JOBS, key=key, body=body)


async def created_job(gateway: Gateway, key: str, tenant_id: str, **changes: Any) -> str:
    """Create a job with a file of its own, validate it, and return its id."""
    reply = await create(gateway, key, await chat_file(tenant_id), **changes)
    assert reply.status == 200, reply.body
    await in_thread(waiting_jobs_validate)
    return str(reply.document["id"])


async def check_documents(gateway: Gateway, key: str, job_id: str) -> None:
    """Validate every document about a job against the types of the SDK and the OpenAPI document."""
    for path in ("", "/{id}", "/{id}/events", "/{id}/checkpoints"):
        reply = await call(gateway, "GET", JOBS + path.replace("{id}", job_id), key=key)
        faults = answer_faults("GET", JOBS + path, reply.status, reply.headers, reply.body)
        assert (reply.status, faults) == (200, []), reply.body


class Attempt:
    """An attempt of the only waiting job. Each method records what a training worker records."""

    def __init__(self, token: uuid.UUID, job_id: str) -> None:
        self._token, self.job_id = token, job_id

    @classmethod
    async def claim(cls) -> Attempt:
        """Claim the first job of the queue."""
        models = ["tiny", "org/private"]
        claim = await in_thread(
            partial(job_claim, worker_class="default", worker_id="trainer", base_models=models)
        )
        assert claim is not None, "no job waits"
        return cls(claim.token, claim.job_id)

    async def prepared(self) -> None:
        """The data is tokenised."""
        await self._record(
            events.Prepared(
                examples=EXAMPLES,
                tokens=80,
                trained_tokens=20,
                truncated=0,
                dropped=0,
                total_steps=STEPS,
                start_step=0,
            )
        )

    async def step(self, step: int) -> None:
        """A step is done."""
        await self._record(
            events.Progress(
                step=step,
                total_steps=STEPS,
                epoch=step / STEPS,
                loss=2.0 / step,
                learning_rate=1e-4,
                grad_norm=0.5,
                token_accuracy=0.5,
                trained_tokens=20 * step,
                tokens_per_s=100.0,
                samples_per_s=10.0,
                elapsed_s=float(step),
                eta_s=60.0,
                memory_bytes=1 << 30,
            )
        )

    async def checkpoint(self, step: int) -> None:
        """A checkpoint is saved."""
        await self._record(
            events.CheckpointSaved(
                step=step,
                folder=f"step-{step:08}",
                train_loss=2.0 / step,
                train_token_accuracy=0.5,
                valid_loss=None,
                valid_token_accuracy=None,
                is_best=True,
            )
        )

    async def succeed(self) -> None:
        """The job ends with a model."""
        success = Success(
            fine_tuned_model="ft:tiny:acme::1", result={"result_files": ["file-1"]}, trained_tokens=80
        )
        await in_thread(partial(attempt_succeed, self._token, success))

    async def fail(self, code: str = "out_of_memory") -> None:
        """The job ends with an error."""
        failure = Failure(code=code, message="No memory is left.", next_step="Lower the rank.")
        await in_thread(partial(attempt_fail, self._token, failure))

    async def stop(self) -> None:
        """The trainer has stopped because an action was requested."""
        await in_thread(partial(attempt_stop, self._token))

    async def _record(self, event: events.TrainerEvent) -> None:
        await in_thread(partial(events_record, self._token, event))


def extension_of(document: BaseModel) -> Any:
    """Return the fields of this platform."""
    return document.to_dict()["cyllm"]


async def stored_job(job_id: str) -> FineTuningJob:
    """Return the job's row."""
    return await in_thread(lambda: FineTuningJob.objects.get(id=job_id))
