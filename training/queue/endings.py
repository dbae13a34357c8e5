"""Ends of attempts and their effect on the job: done, failed, stopped on request, or queued again."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import QuerySet

from tenants.files.creation import StoredContent, file_create
from training.choices import AttemptOutcome, EventLevel, JobPhase, JobStatus, RequestedAction
from training.clock import database_now
from training.jobs.doorbells import ring_on_commit
from training.jobs.events import event_add
from training.jobs.failures import NO_INFERENCE_WORKER, Failure, no_worker_failure
from training.jobs.state import job_end
from training.models import FineTuningJob, JobAttempt
from training.queue.attempts import LockedAttempt, attempt_write
from training.queue.metering import attempt_meter

BACKOFF_S, BACKOFF_MAX_S = 5.0, 300.0
YIELD_S, YIELD_MAX_S = 60.0, 300.0
FAILED_OUTCOMES = (AttemptOutcome.FAILED, AttemptOutcome.LOST)


@dataclass(frozen=True, slots=True, kw_only=True)
class Success:
    """The result of a job. ``contents``: its files, which the transaction that ends the job creates.

    ``register`` makes it a model and returns its name; it runs in the transaction that ends the job. Without
    it, ``fine_tuned_model`` is the name.
    """

    fine_tuned_model: str = ""
    result: Mapping[str, object]
    trained_tokens: int
    artifact_sha256: str = ""
    register: Callable[[], str] | None = None
    contents: Sequence[StoredContent] = ()


def attempt_succeed(token: uuid.UUID, success: Success) -> bool:
    """End the attempt and its job as succeeded; return False if a requested cancellation ends them instead.

    Raises AttemptFencedError, UploadLostError.
    """
    with attempt_write(token) as locked_attempt:
        job = locked_attempt.job
        locked_attempt.attempt.trained_tokens = success.trained_tokens
        if job.requested_action == RequestedAction.CANCEL:
            _end_as_requested(locked_attempt)
            return False
        _end_attempt(locked_attempt, AttemptOutcome.SUCCEEDED)
        for content in success.contents:
            file_create(upload=content.upload, incoming=content, new=content.new, actor=f"job:{job.id}")
        job.result, job.trained_tokens = dict(success.result), success.trained_tokens
        job.fine_tuned_model = success.register() if success.register else success.fine_tuned_model
        job.artifact_sha256 = success.artifact_sha256
        job.save(update_fields=["result", "trained_tokens", "fine_tuned_model", "artifact_sha256"])
        if job.fine_tuned_model:
            event_add(job, f"New fine-tuned model created: {job.fine_tuned_model}")
        job_end(job, JobStatus.SUCCEEDED, "The job has successfully completed")
        return True


def attempt_stop(token: uuid.UUID) -> None:
    """End an attempt that stopped between two steps, either on request or to continue on another worker.

    Raises AttemptFencedError.
    """
    with attempt_write(token) as locked_attempt:
        action = RequestedAction(locked_attempt.job.requested_action)
        if not _end_as_requested(locked_attempt):
            _end_attempt(locked_attempt, AttemptOutcome.RELEASED)
            _requeue(locked_attempt.job, f"The job {_reason(locked_attempt.job, action)} and is queued again")


def attempt_yield(token: uuid.UUID) -> None:
    """End an attempt that waits for an inference worker, so that other jobs run meanwhile.

    The job is queued again with a delay, and fails once it has waited for as long as all attempts of a job
    may. Raises AttemptFencedError.
    """
    with attempt_write(token) as locked_attempt:
        if _end_as_requested(locked_attempt):
            return
        job, attempt = locked_attempt.job, locked_attempt.attempt
        yields = list(_yields(job))
        if yields and database_now() - _waiting_since(job, yields[0]) > _longest_wait():
            failure = no_worker_failure(job.base_model)
            attempt.error_code, attempt.error_message = failure.code, failure.text
            _end_attempt(locked_attempt, AttemptOutcome.FAILED)
            _fail(job, failure, 1)
            return
        _end_attempt(locked_attempt, AttemptOutcome.RELEASED)
        attempt.error_code = NO_INFERENCE_WORKER  # after the usage record, as nothing has failed
        attempt.save(update_fields=["error_code"])
        message = "Other jobs run while this one waits for an inference worker of its base model"
        _requeue(job, message, delay_s=min(YIELD_S * 2 ** len(yields), YIELD_MAX_S))
        job.phase = JobPhase.WAITING_FOR_WORKER
        job.save(update_fields=["phase"])


def has_yielded(token: uuid.UUID) -> bool:
    """Return whether an earlier attempt of the same job has yielded to other jobs."""
    return _yields(FineTuningJob.objects.get(attempts__id=token)).exists()


def _yields(job: FineTuningJob) -> QuerySet[JobAttempt]:
    """Return the attempts that have let other jobs run, oldest first."""
    attempts = JobAttempt.objects.filter(job=job, number__gt=job.forgiven_attempts)
    yields = attempts.filter(outcome=AttemptOutcome.RELEASED, error_code=NO_INFERENCE_WORKER)
    return yields.order_by("number")


def _waiting_since(job: FineTuningJob, first_yield: JobAttempt) -> datetime:
    """Return when the job's current wait began. Training and pauses don't count as waiting."""
    times = (first_yield.ended_at or first_yield.claimed_at, job.queued_at)
    return max(filter(None, times))


def _longest_wait() -> timedelta:
    return timedelta(seconds=settings.CYLLM.training_worker_wait_s * settings.CYLLM.training_max_attempts)


def _reason(job: FineTuningJob, action: RequestedAction) -> str:
    if not job.tenant.active:
        return "waits until its tenant is active again"
    if action == RequestedAction.PREEMPT:
        return "gives way to a job of higher priority"
    return "continues on another worker"


def attempt_fail(token: uuid.UUID, failure: Failure) -> None:
    """End a failed attempt; a transient failure is retried. Raises AttemptFencedError."""
    with attempt_write(token) as locked_attempt:
        end_failed(locked_attempt, failure, AttemptOutcome.FAILED)


def end_failed(locked_attempt: LockedAttempt, failure: Failure, outcome: AttemptOutcome) -> None:
    """End a failed or lost attempt: retry the job with a delay, or fail it after too many attempts."""
    job, attempt = locked_attempt.job, locked_attempt.attempt
    attempt.error_code, attempt.error_message = failure.code, failure.text
    is_pausing = failure.is_transient and job.requested_action == RequestedAction.PAUSE
    if is_pausing or job.requested_action == RequestedAction.CANCEL:
        _end_as_requested(locked_attempt)
        return
    _end_attempt(locked_attempt, outcome)
    failures = JobAttempt.objects.filter(
        job=job, outcome__in=FAILED_OUTCOMES, number__gt=job.forgiven_attempts
    ).count()
    if failure.is_transient and failures < settings.CYLLM.training_max_attempts:
        delay_s = min(BACKOFF_S * 2 ** (failures - 1), BACKOFF_MAX_S)
        message = f"{failure.message} The job is tried again."
        _requeue(job, message, delay_s=delay_s, level=EventLevel.WARN, data={"code": failure.code})
        return
    _fail(job, failure, failures)


def _fail(job: FineTuningJob, failure: Failure, failures: int) -> None:
    job.error_code, job.error_param = failure.code, failure.param
    remark = f" This was attempt {failures}, the last one." if failure.is_transient else ""
    job.error_message = f"{failure.message}{remark} {failure.next_step}".strip()
    job.save(update_fields=["error_code", "error_message", "error_param"])
    data = {"code": failure.code, "next_step": failure.next_step}
    job_end(job, JobStatus.FAILED, job.error_message, level=EventLevel.ERROR, data=data)


def _end_as_requested(locked_attempt: LockedAttempt) -> bool:
    """Cancel or pause the job if that is requested; return whether it was."""
    job = locked_attempt.job
    if job.requested_action == RequestedAction.CANCEL:
        _end_attempt(locked_attempt, AttemptOutcome.CANCELLED)
        job_end(job, JobStatus.CANCELLED, "Fine-tuning job cancelled")
        return True
    if job.requested_action == RequestedAction.PAUSE:
        _end_attempt(locked_attempt, AttemptOutcome.PAUSED)
        _leave_worker(job, JobStatus.PAUSED)
        event_add(job, "Fine-tuning job paused")
        return True
    return False


def _end_attempt(locked_attempt: LockedAttempt, outcome: AttemptOutcome) -> None:
    attempt = locked_attempt.attempt
    attempt.outcome, attempt.ended_at = outcome, database_now()
    attempt.save(update_fields=["outcome", "ended_at", "error_code", "error_message", "trained_tokens"])
    attempt_meter(locked_attempt.job, attempt)


def _requeue(
    job: FineTuningJob,
    message: str,
    *,
    delay_s: float = 0.0,
    level: EventLevel = EventLevel.INFO,
    data: Mapping[str, object] | None = None,
) -> None:
    # queued_at stays: the job keeps its place among its equals.
    _leave_worker(job, JobStatus.QUEUED)
    job.not_before = database_now() + timedelta(seconds=delay_s) if delay_s else None
    job.save(update_fields=["not_before"])
    event_add(job, message, level=level, data=data)
    if not delay_s:  # otherwise the sweep rings when the delay has passed
        ring_on_commit(job.worker_class, job.priority)


def _leave_worker(job: FineTuningJob, status: JobStatus) -> None:
    job.status, job.phase, job.requested_action = status, JobPhase.NONE, RequestedAction.NONE
    job.estimated_finish = None
    job.save(update_fields=["status", "phase", "requested_action", "estimated_finish"])
