"""Refusals of actions on jobs: the status doesn't allow one, or a failed job can't be resumed."""

from __future__ import annotations

from training.choices import JobAction, RequestedAction
from training.models import FineTuningJob
from training.requests.refusals import BudgetShortage


class JobTransitionError(Exception):
    """The job's status doesn't allow the action."""

    def __init__(self, job: FineTuningJob, action: JobAction, *, reason: str = "") -> None:
        self.job_id = job.id
        self.action = action
        self.status = job.status
        self.requested_action = job.requested_action
        is_cancelling = job.requested_action == RequestedAction.CANCEL
        status = f"{job.status} (being cancelled)" if is_cancelling else str(job.status)
        self.state = f"{status}, and {reason}" if reason else status
        super().__init__(f"The job {job.id} can't be {action.past_participle}: its status is {self.state}.")


class OpenJobsLimitError(JobTransitionError):
    """The tenant of a failed job already has ``limit`` jobs that have not ended."""

    def __init__(self, job: FineTuningJob, limit: int) -> None:
        super().__init__(
            job, JobAction.RESUME, reason=f"its tenant already has {limit} jobs that have not ended"
        )
        self.limit = limit


class JobFileMissingError(JobTransitionError):
    """A file of a failed job no longer exists."""

    def __init__(self, job: FineTuningJob, file_id: str) -> None:
        super().__init__(job, JobAction.RESUME, reason=f"its file {file_id} no longer exists")
        self.file_id = file_id


class OtherPublicationError(JobTransitionError):
    """Another job publishes the checkpoint of a failed publication, or has published it."""

    def __init__(self, job: FineTuningJob, publication: FineTuningJob) -> None:
        super().__init__(job, JobAction.RESUME, reason=f"the job {publication.id} publishes its checkpoint")
        self.publication_id = publication.id


class BaseModelMissingError(JobTransitionError):
    """The base model of a failed publication is no longer available to the tenant."""

    def __init__(self, job: FineTuningJob) -> None:
        reason = f"its base model {job.base_model} is no longer available"
        super().__init__(job, JobAction.RESUME, reason=reason)
        self.base_model = job.base_model


class JobBudgetError(JobTransitionError):
    """A budget doesn't cover what a failed job may still cost."""

    def __init__(self, job: FineTuningJob, shortage: BudgetShortage) -> None:
        super().__init__(job, JobAction.RESUME, reason=shortage.message)
        self.shortage = shortage
