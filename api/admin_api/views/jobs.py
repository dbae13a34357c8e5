"""Fine-tuning jobs."""

from __future__ import annotations

from typing import Any, ClassVar

from rest_framework.request import Request
from rest_framework.response import Response

from api.admin_api.access import OPERATE, READ, USE
from api.admin_api.base import AdminView, answer
from api.admin_api.document import IDEMPOTENCY_KEY, operation
from api.admin_api.idempotency import idempotent
from api.admin_api.paging import page
from api.admin_api.schemas import jobs as schemas
from api.admin_api.schemas.base import ListQuery
from api.job_errors import action_error, publication_error
from api.openai.errors.administration import ObjectNotFound
from api.openai.errors.base import printable
from tenants.models import Tenant
from training.choices import JobAction, JobStatus
from training.jobs import services
from training.jobs.checkpoint_jobs import (
    CheckpointRefusedError,
    CheckpointState,
    checkpoint_publish,
    checkpoint_states,
)
from training.jobs.selectors import checkpoints, jobs
from training.jobs.transition_errors import JobTransitionError
from training.models import FineTuningJob, JobCheckpoint


def _job(job: FineTuningJob) -> schemas.Job:
    values: dict[str, Any] = {
        name: getattr(job, name)
        for name in (
            *("id", "status", "base_model", "method", "created_by", "training_file", "priority"),
            *("worker_class", "step", "total_steps", "trained_tokens", "metadata"),
            *("created_at", "started_at", "finished_at", "estimated_finish"),
        )
    }
    error = None
    if job.status == JobStatus.FAILED:
        error = schemas.JobError(
            code=job.error_code, message=job.error_message, param=job.error_param or None
        )
    return schemas.Job.model_validate(
        values
        | {
            "tenant": job.tenant.slug,
            "phase": job.phase or None,
            "requested_action": job.requested_action or None,
            "fine_tuned_model": job.fine_tuned_model or None,
            "validation_file": job.validation_file or None,
            "hyperparameters": {**job.hyperparameters, **job.resolved},
            "attempts": job.attempt_count,
            "error": error,
        }
    )


def _checkpoint(row: JobCheckpoint, state: CheckpointState) -> schemas.Checkpoint:
    values = {name: getattr(row, name) for name in ("id", "step", "is_best", "metrics", "created_at")}
    return schemas.Checkpoint.model_validate({**values, "state": state.value})


class JobsView(AdminView):
    """Jobs of a tenant."""

    access = {"GET": READ}

    @operation("List fine-tuning jobs", schemas.JobList, query=schemas.JobsQuery)
    def get(self, request: Request) -> Response:
        """List jobs."""
        query = self.query(schemas.JobsQuery)
        tenant: Tenant | None = getattr(self, "tenant", None)
        rows = jobs(tenant_id=tenant.pk if tenant else None, status=query.status)
        return answer(schemas.JobList(**page(rows, query, ["-created_at", "-id"], _job)))


class AllJobsView(JobsView):
    """Jobs of all tenants."""

    access = {"GET": OPERATE}


class _JobView(AdminView):
    """The base of the views of one job."""

    access = {}

    def find(self, job_id: str) -> FineTuningJob:
        """Return a job of the tenant. Raises ObjectNotFound."""
        job = jobs(tenant_id=self.tenant.pk).filter(pk=job_id).first()
        if job is None:
            raise ObjectNotFound(kind="fine-tuning job", name=printable(job_id))
        return job


class JobView(_JobView):
    """One job."""

    access = {"GET": READ}

    @operation("Get a fine-tuning job", schemas.Job)
    def get(self, request: Request, job_id: str) -> Response:
        """Return the job."""
        return answer(_job(self.find(job_id)))


class _JobActionView(_JobView):
    """The base of the actions on a job."""

    access = {}
    action: ClassVar[JobAction]

    def act(self, job_id: str) -> Response:
        """Apply the action. Repeating it changes nothing. Raises ApiError."""
        self.find(job_id)
        try:
            services.job_act(self.action, job_id=job_id, actor=self.caller.actor)
        except JobTransitionError as error:
            raise action_error(error) from None
        return answer(_job(self.find(job_id)))


class JobCancelView(_JobActionView):
    """Cancels a job."""

    access = {"POST": USE}
    action = JobAction.CANCEL

    @operation("Cancel a fine-tuning job", schemas.Job, parameters=[IDEMPOTENCY_KEY])
    @idempotent
    def post(self, request: Request, job_id: str) -> Response:
        """Cancel the job."""
        return self.act(job_id)


class JobPauseView(_JobActionView):
    """Pauses a job."""

    access = {"POST": USE}
    action = JobAction.PAUSE

    @operation("Pause a fine-tuning job", schemas.Job, parameters=[IDEMPOTENCY_KEY])
    @idempotent
    def post(self, request: Request, job_id: str) -> Response:
        """Pause the job."""
        return self.act(job_id)


class JobResumeView(_JobActionView):
    """Resumes a job."""

    access = {"POST": USE}
    action = JobAction.RESUME

    @operation("Resume a fine-tuning job", schemas.Job, parameters=[IDEMPOTENCY_KEY])
    @idempotent
    def post(self, request: Request, job_id: str) -> Response:
        """Resume the job."""
        return self.act(job_id)


class CheckpointsView(_JobView):
    """Checkpoints of a job."""

    access = {"GET": READ}

    @operation("List the checkpoints of a fine-tuning job", schemas.CheckpointList, query=ListQuery)
    def get(self, request: Request, job_id: str) -> Response:
        """List checkpoints."""
        job, query = self.find(job_id), self.query(ListQuery)
        states = checkpoint_states(job)

        def show(row: JobCheckpoint) -> schemas.Checkpoint:
            return _checkpoint(row, states.of(row))

        return answer(schemas.CheckpointList(**page(checkpoints(job), query, ["-step"], show)))


class CheckpointPublicationView(_JobView):
    """Publishes a checkpoint."""

    access = {"POST": USE}

    @operation("Publish a checkpoint of a fine-tuning job", schemas.Job, parameters=[IDEMPOTENCY_KEY])
    @idempotent
    def post(self, request: Request, job_id: str, checkpoint_id: str) -> Response:
        """Return the job that makes the checkpoint a model."""
        source = self.find(job_id)
        try:
            job = checkpoint_publish(
                tenant_id=self.tenant.pk,
                job_id=source.id,
                checkpoint_id=checkpoint_id,
                actor=self.caller.actor,
            )
        except JobCheckpoint.DoesNotExist:
            raise ObjectNotFound(kind="checkpoint", name=printable(checkpoint_id)) from None
        except CheckpointRefusedError as error:
            raise publication_error(error, checkpoint_id) from None
        return answer(_job(self.find(job.id)))
