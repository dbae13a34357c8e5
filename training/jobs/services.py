"""Changes of fine-tuning jobs by users. Each commits its audit record and event, then rings the doorbell."""

from __future__ import annotations

import random
import uuid
from collections.abc import Collection, Mapping
from pathlib import Path

from django.conf import settings
from django.db import transaction

from backoffice.request_ids import request_id
from tenants.audit_trail.changes import admin_audit_record
from tenants.files.selectors import file_find_for_use, largest_file_bytes
from tenants.models import Tenant
from training.choices import END_STATUSES, EventLevel, JobAction, JobPhase, JobStatus, RequestedAction
from training.clock import database_now
from training.ids import new_id
from training.jobs.budget import check_budget, remaining_shortage, reserve_budget
from training.jobs.doorbells import ring_for_validation, ring_on_commit
from training.jobs.events import event_add
from training.jobs.selectors import (
    is_base_available,
    is_retention_over,
    open_job_count,
    publication_find,
    training_price,
)
from training.jobs.state import job_end, locked_job
from training.jobs.transition_errors import (
    BaseModelMissingError,
    JobBudgetError,
    JobFileMissingError,
    JobTransitionError,
    OpenJobsLimitError,
    OtherPublicationError,
)
from training.models import FineTuningJob, JobCheckpoint
from training.requests.checks.files import check_files
from training.requests.checks.request import parse_options
from training.requests.checks.settings import check_settings
from training.requests.hyperparameters import job_options, stored_options
from training.requests.job_request import JobRequest
from training.requests.refusals import JobRefusedError, TooManyJobs

# Codes of failures whose cause can pass or be removed without another job: those of machines and storage, and
# those of a result that is only to be published.
RESUMABLE_FAILURES = frozenset(
    {
        *("adapter_verification_failed", "model_name_taken", "model_not_found", "result_too_large"),
        *("base_model_unreadable", "checkpoint_unavailable", "checkpoint_unwritable"),
        *("disk_full", "file_unavailable"),
        *("internal_error", "no_inference_worker", "out_of_memory", "storage_unavailable", "trainer_crashed"),
        *("trainer_unavailable", "worker_lost", "worker_unsuitable"),
    }
)
_EXPIRED = (
    "This job ended so long ago that training workers may have removed its checkpoints. If they have, "
    "training starts from the first step."
)
_SAME_FILE = "The validation file is the training file: its loss does not show how the model generalizes."


def job_create(
    request: JobRequest,
    *,
    tenant_id: uuid.UUID,
    actor: str,
    engine_rank: int | None = None,
    usable_models: Collection[str] | None = None,
    correlation_id: str = "",
) -> FineTuningJob:
    """Check a request and create the job, which waits until its files have been validated.

    ``engine_rank``: highest rank that ready workers of the model load, if there are any. ``usable_models``:
    the only models that a refusal may name, None for all. Raises JobRefusedError.
    """
    limits = settings.CYLLM
    if usable_models is not None:
        limits = limits.model_copy(
            update={"training_models": _selected(limits.training_models, usable_models)}
        )
    options = parse_options(request)
    check_settings(request, options, engine_rank, limits, largest_file_bytes(tenant_id))
    with transaction.atomic():
        if locked_open_job_count(tenant_id) >= limits.training_open_jobs:
            raise JobRefusedError(TooManyJobs(limits.training_open_jobs))
        check_files(request, options, tenant_id)
        tenant = Tenant.objects.get(id=tenant_id)
        check_budget(request, tenant, actor, training_price(request.base_model))
        return job_insert(request, tenant=tenant, actor=actor, correlation_id=correlation_id)


def _selected(folders: Mapping[str, Path], names: Collection[str]) -> dict[str, Path]:
    return {name: folder for name, folder in folders.items() if name in names}


def locked_open_job_count(tenant_id: uuid.UUID) -> int:
    """Return the number of a tenant's open jobs. Locks the tenant, so that it can't grow."""
    Tenant.objects.select_for_update(no_key=True).get(id=tenant_id)
    return open_job_count(tenant_id)


@transaction.atomic
def job_insert(request: JobRequest, *, tenant: Tenant, actor: str, correlation_id: str = "") -> FineTuningJob:
    """Create a job without any check. ``correlation_id``: by default the id of the request or command."""
    job = FineTuningJob(
        id=new_id("ftjob-"),
        tenant=tenant,
        created_by=actor[:200],
        correlation_id=correlation_id or request_id.get(),
        base_model=request.base_model,
        training_price=training_price(request.base_model),
        suffix=request.suffix,
        method=request.method,
        hyperparameters=dict(request.hyperparameters),
        options=stored_options(job_options(request.options)),
        seed=random.randrange(2**31) if request.seed is None else request.seed,
        metadata=dict(request.metadata),
        training_file=request.training_file,
        validation_file=request.validation_file or "",
        status=JobStatus.VALIDATING_FILES,
        priority=request.priority,
        worker_class=request.worker_class,
    )
    job.save(force_insert=True)
    reserve_budget(job)
    _audit(job, "create", actor, before=None)
    event_add(job, f"Created fine-tuning job: {job.id}")
    event_add(job, f"Validating training file: {job.training_file}")
    if job.validation_file == job.training_file:
        event_add(job, _SAME_FILE, level=EventLevel.WARN)
    transaction.on_commit(ring_for_validation)
    return job


@transaction.atomic
def job_cancel(*, job_id: str, actor: str) -> FineTuningJob:
    """Cancel a job. One that runs ends within a step; until then, it has a requested action.

    Repeating the request changes nothing. Raises JobTransitionError (the job has ended), DoesNotExist.
    """
    job = locked_job(job_id)
    if job.status in END_STATUSES:
        raise JobTransitionError(job, JobAction.CANCEL)
    if job.requested_action == RequestedAction.CANCEL:
        return job
    before = _values(job)
    if job.status == JobStatus.RUNNING:
        _request(job, RequestedAction.CANCEL, "Cancellation requested")
    else:
        job_end(job, JobStatus.CANCELLED, "Fine-tuning job cancelled")
    _audit(job, "cancel", actor, before=before)
    return job


@transaction.atomic
def job_pause(*, job_id: str, actor: str) -> FineTuningJob:
    """Pause a job. One that runs saves a checkpoint and stops within a step.

    Repeating the request changes nothing. Raises JobTransitionError (ended, being cancelled), DoesNotExist.
    """
    job = locked_job(job_id)
    if job.status in END_STATUSES or job.requested_action == RequestedAction.CANCEL:
        raise JobTransitionError(job, JobAction.PAUSE)
    if job.status == JobStatus.PAUSED or job.requested_action == RequestedAction.PAUSE:
        return job
    before = _values(job)
    if job.status == JobStatus.RUNNING:
        _request(job, RequestedAction.PAUSE, "Pause requested")
    else:
        job.status, job.phase = JobStatus.PAUSED, JobPhase.NONE
        job.save(update_fields=["status", "phase"])
        event_add(job, "Fine-tuning job paused")
    _audit(job, "pause", actor, before=before)
    return job


@transaction.atomic
def job_resume(*, job_id: str, actor: str) -> FineTuningJob:
    """Queue a paused job again, or withdraw the request to pause a running one.

    A job that failed for a cause outside of it is queued again as well, with all its attempts. A job that
    waits or runs stays as it is. Raises JobTransitionError (ended, being cancelled), OpenJobsLimitError,
    JobFileMissingError, OtherPublicationError, BaseModelMissingError, JobBudgetError, DoesNotExist.
    """
    job = locked_job(job_id)
    is_resumable = job.status == JobStatus.FAILED and job.error_code in RESUMABLE_FAILURES
    has_ended = job.status in END_STATUSES and not is_resumable
    if has_ended or job.requested_action == RequestedAction.CANCEL:
        raise JobTransitionError(job, JobAction.RESUME)
    before = _values(job)
    if is_resumable:
        _reopen(job)
    if is_resumable or job.status == JobStatus.PAUSED:
        _resume(job)
    elif job.requested_action == RequestedAction.PAUSE:
        _request(job, RequestedAction.NONE, "Pause withdrawn")
    else:
        return job
    _audit(job, "resume", actor, before=before)
    return job


def job_act(action: JobAction, *, job_id: str, actor: str) -> FineTuningJob:
    """Cancel, pause or resume a job. Raises what these do."""
    functions = {
        JobAction.CANCEL: job_cancel,
        JobAction.PAUSE: job_pause,
        JobAction.RESUME: job_resume,
    }
    return functions[action](job_id=job_id, actor=actor)


def _reopen(job: FineTuningJob) -> None:
    """Undo the end of a failed job, whose attempts so far no longer count. Raises JobTransitionError."""
    limit = settings.CYLLM.training_open_jobs
    if locked_open_job_count(job.tenant_id) >= limit:
        raise OpenJobsLimitError(job, limit)
    if job.source_checkpoint_id is None:
        _check_files_exist(job)
    else:
        _check_publication(job)
    if (shortage := remaining_shortage(job)) is not None:  # its reservation ended with it
        raise JobBudgetError(job, shortage)
    if job.source_checkpoint_id is None and is_retention_over(job):
        JobCheckpoint.objects.filter(job=job).update(is_outdated=True)
        job.step = 0
        event_add(job, _EXPIRED, level=EventLevel.WARN, data={"code": "checkpoints_expired"})
    job.error_code = job.error_message = job.error_param = ""
    job.finished_at, job.forgiven_attempts = None, job.attempt_count
    job.save(
        update_fields=[
            *("error_code", "error_message", "error_param", "finished_at", "forgiven_attempts", "step"),
        ]
    )


def _check_files_exist(job: FineTuningJob) -> None:
    for file_id in filter(None, (job.training_file, job.validation_file)):
        if file_find_for_use(file_id=file_id, tenant_id=job.tenant_id) is None:
            raise JobFileMissingError(job, file_id)


def _check_publication(job: FineTuningJob) -> None:
    """Check that a publication can be resumed. Call it with the tenant locked.

    Raises OtherPublicationError, BaseModelMissingError.
    """
    if (publication := publication_find(job.source_checkpoint_id)) is not None:
        raise OtherPublicationError(job, publication)
    if not is_base_available(job):
        raise BaseModelMissingError(job)


def _resume(job: FineTuningJob) -> None:
    if job.queued_at is None:  # its files were not validated before it stopped
        job.status, job.validation_count = JobStatus.VALIDATING_FILES, 0
        job.validation_token = job.validation_until = None
        job.save(update_fields=["status", "validation_count", "validation_token", "validation_until"])
        reserve_budget(job)
        event_add(job, "Fine-tuning job resumed")
        transaction.on_commit(ring_for_validation)
        return
    job.status, job.queued_at, job.not_before = JobStatus.QUEUED, database_now(), None
    job.save(update_fields=["status", "queued_at", "not_before"])
    reserve_budget(job)
    event_add(job, "Fine-tuning job resumed, moved to queued state")
    ring_on_commit(job.worker_class, job.priority)


def _request(job: FineTuningJob, action: RequestedAction, message: str) -> None:
    job.requested_action = action
    job.save(update_fields=["requested_action"])
    event_add(job, message)


def _values(job: FineTuningJob) -> dict[str, object]:
    return {"status": str(job.status), "requested_action": str(job.requested_action)}


def _audit(job: FineTuningJob, action: str, actor: str, *, before: dict[str, object] | None) -> None:
    request_values = {"base_model": job.base_model, "method": job.method, "training_file": job.training_file}
    admin_audit_record(
        actor=actor,
        action=f"job.{action}",
        object_id=job.id,
        object_name=job.id,
        tenant_id=job.tenant_id,
        before=before,
        after=_values(job) | ({} if before else request_values),
    )
