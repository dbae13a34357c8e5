"""The result of a job: evaluations, and the file of training metrics in OpenAI's format."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from typing import Any

import msgspec

from tenants.files.creation import NewFile, StoredContent, content_store
from tenants.files.models import Purpose
from training.choices import EventType
from training.engine.events import Finished
from training.models import FineTuningJob, JobEvent

COLUMNS = ("step", "train_loss", "train_accuracy", "valid_loss", "valid_mean_token_accuracy")
SOURCES = {
    "train_loss": "train_loss",
    "train_mean_token_accuracy": "train_accuracy",
    "valid_loss": "valid_loss",
    "valid_mean_token_accuracy": "valid_mean_token_accuracy",
}


def metrics_csv(job: FineTuningJob) -> bytes:
    """Return the metrics of each step as CSV. A repeated step has those of its last run."""
    rows: dict[int, dict[str, Any]] = {}
    events = JobEvent.objects.filter(job=job, type=EventType.METRICS).order_by("number")
    for data in events.values_list("data", flat=True).iterator():
        if data["step"] == 0:  # the evaluation of the base model
            continue
        row = rows.setdefault(data["step"], {"step": data["step"]})
        row |= {column: data[name] for name, column in SOURCES.items() if data.get(name) is not None}
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows[step] for step in sorted(rows))
    return text.getvalue().encode()


def store_metrics(job: FineTuningJob) -> StoredContent:
    """Store the metrics as the content of a new file. Raises FileQuotaError and storage errors."""
    new = NewFile(filename=f"{job.id}-step_metrics.csv", purpose=Purpose.FINE_TUNE_RESULTS)
    content = io.BytesIO(metrics_csv(job))
    return content_store(tenant_id=job.tenant_id, content=content, new=new)


def job_result(last_event: Finished, result_files: list[str]) -> Mapping[str, object]:
    """Return the result of a job as JSON."""
    return {
        "result_files": result_files,
        "step": last_event.step,
        "reason": last_event.reason,
        "evaluated_on": last_event.evaluated_on,
        "base": msgspec.to_builtins(last_event.base),
        "result": msgspec.to_builtins(last_event.result),
    }
