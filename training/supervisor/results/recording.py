"""Events of the trainer as rows, refused if the attempt has ended."""

from __future__ import annotations

import math
import uuid
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from django.db.models import Q

from training.choices import EventLevel, EventType, JobPhase
from training.clock import database_now
from training.engine import events
from training.ids import new_id
from training.jobs.events import event_add
from training.models import FineTuningJob, JobCheckpoint, JobSampleLines
from training.queue.attempts import attempt_write

LONGEST_RUN_S = 10 * 365 * 86_400.0
PHASE_MESSAGES = {
    JobPhase.WAITING_FOR_WORKER: "Waiting for an inference worker of the base model",
    JobPhase.VERIFYING: "Verifying the fine-tuned model on an inference worker",
    JobPhase.PUBLISHING: "Publishing the fine-tuned model",
}


def events_record(token: uuid.UUID, *batch: events.TrainerEvent) -> None:
    """Record events that don't end the run in one transaction. Raises AttemptFencedError."""
    recorder_events = [(record, event) for event in batch if (record := _RECORDERS.get(type(event)))]
    if not recorder_events:
        return
    with attempt_write(token) as locked_attempt:
        for record, event in recorder_events:
            record(locked_attempt.job, event)
        if steps := [event for _, event in recorder_events if isinstance(event, events.Progress)]:
            locked_attempt.attempt.trained_tokens = steps[-1].trained_tokens
            locked_attempt.attempt.save(update_fields=["trained_tokens"])


def phase_record(token: uuid.UUID, phase: JobPhase) -> None:
    """Record the phase of a job, with an event if it is new. Raises AttemptFencedError."""
    with attempt_write(token) as locked_attempt:
        if locked_attempt.job.phase == phase:
            return
        locked_attempt.job.phase = phase
        locked_attempt.job.save(update_fields=["phase"])
        if message := PHASE_MESSAGES.get(phase):
            event_add(locked_attempt.job, message)


def _record_prepared(job: FineTuningJob, event: events.Prepared) -> None:
    job.total_steps, job.step, job.phase = event.total_steps, event.start_step, JobPhase.TRAINING
    job.save(update_fields=["total_steps", "step", "phase"])
    start = f", continuing after step {event.start_step}" if event.start_step else ""
    message = f"Training {event.total_steps} steps on {event.examples} examples{start}"
    data = _data(event)
    del data["sample_lines"]
    event_add(job, message, data=data)
    if event.sample_lines:
        JobSampleLines.objects.update_or_create(job=job, defaults={"packed": event.sample_lines})
    if event.dropped or event.truncated:
        loss = f"Dropped {event.dropped} examples and truncated {event.truncated} to the maximum length"
        event_add(job, loss, level=EventLevel.WARN)


def _record_choice(job: FineTuningJob, event: events.Choice) -> None:
    data = {name: value for name, value in _data(event).items() if value != {}}
    event_add(job, f"{event.subject}: {event.value} ({event.reason})", data=data)


def _record_progress(job: FineTuningJob, event: events.Progress) -> None:
    job.step, job.total_steps = event.step, event.total_steps
    # After the last step the result is compared with the base model.
    job.phase = JobPhase.EVALUATING if event.step >= event.total_steps else JobPhase.TRAINING
    job.trained_tokens, job.tokens_per_s = event.trained_tokens, _finite(event.tokens_per_s)
    job.estimated_finish = database_now() + timedelta(seconds=min(max(0.0, event.eta_s), LONGEST_RUN_S))
    job.save(
        update_fields=[
            *("step", "total_steps", "phase", "trained_tokens", "tokens_per_s", "estimated_finish"),
        ]
    )
    data = _data(event) | {
        "train_loss": _finite(event.loss),
        "train_mean_token_accuracy": _finite(event.token_accuracy),
    }
    for name in ("loss", "token_accuracy", "reward_accuracy", "reward_margin"):
        del data[name]
    data |= _rewards(event)
    message = f"Step {event.step}/{event.total_steps}: training loss={event.loss:.4f}"
    event_add(job, message, kind=EventType.METRICS, data=data)


def _rewards(event: events.Progress | events.Evaluation) -> dict[str, float]:
    """Return the measures of DPO, none of another method."""
    rewards = {"reward_accuracy": event.reward_accuracy, "reward_margin": event.reward_margin}
    return {name: value for name, value in rewards.items() if value is not None}


def _record_evaluation(job: FineTuningJob, event: events.Evaluation) -> None:
    data = {
        "step": event.step,
        "valid_loss": _finite(event.loss),
        "valid_mean_token_accuracy": _finite(event.token_accuracy),
        "perplexity": _finite(event.perplexity),
        "is_best": event.is_best,
    } | _rewards(event)
    message = f"Step {event.step}/{job.total_steps or event.step}: validation loss={event.loss:.4f}"
    event_add(job, message, kind=EventType.METRICS, data=data)


def _record_checkpoint(job: FineTuningJob, event: events.CheckpointSaved) -> None:
    metrics = {
        "step": event.step,
        "train_loss": event.train_loss,
        "train_mean_token_accuracy": event.train_token_accuracy,
        "valid_loss": event.valid_loss,
        "valid_mean_token_accuracy": event.valid_token_accuracy,
    }
    present = {name: value for name, value in metrics.items() if _finite(value) is not None}
    if event.is_best:
        JobCheckpoint.objects.filter(~Q(step=event.step), job=job, is_best=True).update(is_best=False)
    values = {
        "folder": event.folder,
        "metrics": present,
        "is_best": event.is_best,
        "is_outdated": False,
    }
    # A later attempt reaches a step again and saves the same.
    checkpoint, _ = JobCheckpoint.objects.update_or_create(
        job=job, step=event.step, defaults=values, create_defaults={**values, "id": new_id("ftckpt_")}
    )
    if job.step < event.step:  # steps between those that are logged
        job.step = event.step
        job.save(update_fields=["step"])
    data = {"step": event.step, "checkpoint": checkpoint.id, "is_best": event.is_best}
    event_add(job, f"Checkpoint saved at step {event.step}", data=data)


def _record_warned(job: FineTuningJob, event: events.Warned) -> None:
    event_add(job, event.message, level=EventLevel.WARN, data={"code": event.code})


_RECORDERS: Mapping[type, Callable[[FineTuningJob, Any], None]] = {
    events.Prepared: _record_prepared,
    events.Choice: _record_choice,
    events.Progress: _record_progress,
    events.Evaluation: _record_evaluation,
    events.CheckpointSaved: _record_checkpoint,
    events.Warned: _record_warned,
}


def _data(event: events.TrainerEvent) -> dict[str, Any]:
    names = (name for name in event.__struct_fields__)
    return {name: _finite(getattr(event, name)) for name in names}


def _finite(value: Any) -> Any:
    """Return None for a number that JSON can't hold."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
