"""Jobs that publish a checkpoint of an ended job: they train nothing, but verify and register its adapter."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from enum import StrEnum

from django.conf import settings
from django.db import transaction

from backoffice.request_ids import request_id
from tenants.audit_trail.changes import admin_audit_record
from training.choices import END_STATUSES, JobStatus
from training.clock import database_now
from training.ids import new_id
from training.jobs.doorbells import ring_on_commit
from training.jobs.events import event_add
from training.jobs.selectors import checkpoints, is_base_available, is_retention_over, publication_find
from training.jobs.services import locked_open_job_count
from training.jobs.state import locked_job
from training.models import FineTuningJob, JobCheckpoint
from training.requests.refusals import TooManyJobs


class CheckpointState(StrEnum):
    """State of a checkpoint: publishable, or the reason why it can't be published.

    REMOVED: training workers keep a few checkpoints, for a time. NO_BASE: the tenant has no access
    to its base model any more.
    """

    PUBLISHABLE = "publishable"
    NOT_ENDED = "not_ended"
    NOT_SERVABLE = "not_servable"
    REMOVED = "removed"
    NO_BASE = "no_base"


REFUSALS = {
    CheckpointState.NOT_ENDED: "its job has not ended",
    CheckpointState.NOT_SERVABLE: "engines load adapters of the kind 'lora' only",
    CheckpointState.REMOVED: "the training workers no longer have it",
    CheckpointState.NO_BASE: "its base model is no longer available",
}


class CheckpointRefusedError(Exception):
    """The checkpoint can't be published because of its state or the tenant's limit of open jobs."""

    def __init__(self, obstacle: CheckpointState | TooManyJobs) -> None:
        self.reason = obstacle.message if isinstance(obstacle, TooManyJobs) else REFUSALS[obstacle]
        super().__init__(f"The checkpoint can't be published: {self.reason}.")
        self.obstacle = obstacle


@dataclass(frozen=True, slots=True)
class CheckpointStates:
    """States of a job's checkpoints: ``kept_state`` of those that workers keep, or ``other_state``.

    Workers keep the latest ones, from ``first_kept_step`` on, and the best one.
    """

    kept_state: CheckpointState
    other_state: CheckpointState
    first_kept_step: int = 0

    def of(self, checkpoint: JobCheckpoint) -> CheckpointState:
        """Return the state of one of the checkpoints, which may have been saved since."""
        is_recent = checkpoint.step >= self.first_kept_step
        is_kept = (is_recent or checkpoint.is_best) and not checkpoint.is_outdated
        return self.kept_state if is_kept else self.other_state


def checkpoint_states(job: FineTuningJob) -> CheckpointStates:
    """Return the states of a job's checkpoints. At most two queries."""
    if job.adapter != "lora":
        return CheckpointStates(CheckpointState.NOT_SERVABLE, CheckpointState.NOT_SERVABLE)
    if is_retention_over(job):
        return CheckpointStates(CheckpointState.REMOVED, CheckpointState.REMOVED)
    kept_count = int(job.options.get("keep_checkpoints") or 2)
    kept_steps = checkpoints(job).filter(is_outdated=False).values_list("step", flat=True)[:kept_count]
    return CheckpointStates(_kept_state(job), CheckpointState.REMOVED, min(kept_steps, default=0))


def _kept_state(job: FineTuningJob) -> CheckpointState:
    if job.status not in END_STATUSES:
        return CheckpointState.NOT_ENDED
    return CheckpointState.PUBLISHABLE if is_base_available(job) else CheckpointState.NO_BASE


@transaction.atomic
def checkpoint_publish(
    *, tenant_id: uuid.UUID, job_id: str, checkpoint_id: str, actor: str, correlation_id: str = ""
) -> FineTuningJob:
    """Create the job that publishes a checkpoint, or return the one that does or whose model exists.

    ``correlation_id``: by default the id of the request or command. A training worker finds out whether it
    still has the checkpoint. Raises CheckpointRefusedError, JobCheckpoint.DoesNotExist.
    """
    checkpoint = JobCheckpoint.objects.get(id=checkpoint_id, job=job_id, job__tenant=tenant_id)
    # The job before its tenant, like a resumption.
    source = locked_job(job_id)
    open_jobs = locked_open_job_count(tenant_id)
    if (current := publication_find(checkpoint.id)) is not None:
        return current
    checkpoint.refresh_from_db()  # it was read before the lock
    state = checkpoint_states(source).of(checkpoint)
    if state != CheckpointState.PUBLISHABLE:
        raise CheckpointRefusedError(state)
    if open_jobs >= settings.CYLLM.training_open_jobs:
        raise CheckpointRefusedError(TooManyJobs(settings.CYLLM.training_open_jobs))
    return _insert(source, checkpoint, actor, correlation_id)


def _insert(
    source: FineTuningJob, checkpoint: JobCheckpoint, actor: str, correlation_id: str
) -> FineTuningJob:
    job = FineTuningJob(
        id=new_id("ftjob-"),
        tenant=source.tenant,
        created_by=actor[:200],
        correlation_id=correlation_id or request_id.get(),
        source_checkpoint=checkpoint,
        base_model=source.base_model,
        suffix=source.suffix,
        method=source.method,
        hyperparameters=source.hyperparameters,
        resolved=source.resolved,
        options=source.options,
        seed=source.seed,
        training_file=source.training_file,
        validation_file=source.validation_file,
        status=JobStatus.QUEUED,
        queued_at=database_now(),
        priority=source.priority,
        worker_class=source.worker_class,
        step=checkpoint.step,
        report=source.report,
    )
    job.save(force_insert=True)
    admin_audit_record(
        actor=actor,
        action="job.create",
        object_id=job.id,
        object_name=job.id,
        tenant_id=job.tenant_id,
        before=None,
        after={"status": str(job.status), "base_model": job.base_model, "source_checkpoint": checkpoint.id},
    )
    event_add(job, f"Created job to publish the checkpoint of step {checkpoint.step} of {source.id}")
    ring_on_commit(job.worker_class, job.priority)
    return job
