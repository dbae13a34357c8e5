"""A fine-tuned model with the files of its job."""

from __future__ import annotations

import io
import json

from inference_worker.registry import services as registry
from inference_worker.registry.models import Adapter
from tenants.files.creation import NewFile, file_store
from tenants.files.models import Purpose, StoredFile
from tests.console.harness.jobs import job_with_steps
from tests.people import Cast

MODEL = "acme-tuned"
ANSWER = {"role": "assistant", "content": "Yes."}


def chat_line(*turns: tuple[str, str]) -> str:
    """Return a line of a training file."""
    messages = [{"role": role, "content": content} for role, content in turns]
    return json.dumps({"messages": [*messages, ANSWER]})


def _file(cast: Cast, content: str, name: str = "chats.jsonl") -> StoredFile:
    new = NewFile(filename=name, purpose=Purpose.USER_DATA)
    return file_store(tenant_id=cast.acme.id, content=io.BytesIO(content.encode()), new=new, actor="t")


def tuned_model(cast: Cast, content: str, validation: str = "") -> None:
    """Register the model for acme, with a job of these files."""
    base = registry.model_register(name="tiny", actor="t")
    model = registry.model_register(name=MODEL, actor="t", visibility="restricted")
    registry.grant_set(name=MODEL, tenant_ids=[cast.acme.id], actor="t")
    job = job_with_steps(
        cast.acme,
        0,
        runs=False,
        training_file=_file(cast, content).id,
        validation_file=_file(cast, validation, "unseen.jsonl").id if validation else "",
    )
    Adapter.objects.create(
        model=model,
        base=base,
        sha256="a" * 64,
        rank=8,
        size_bytes=1,
        tenant_id=cast.acme.id,
        job_id=job.id,
    )
