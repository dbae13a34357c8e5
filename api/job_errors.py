"""Errors of the public and the administrative API for actions on fine-tuning jobs and checkpoints."""

from __future__ import annotations

from api.openai.errors.base import ApiError
from api.openai.errors.fine_tuning import CheckpointNotPublishable, InvalidJobState, TooManyJobs
from api.openai.errors.quotas import InsufficientQuota
from api.openai.errors.retry_after import retry_after
from training.jobs.checkpoint_jobs import CheckpointRefusedError
from training.jobs.transition_errors import JobBudgetError, JobTransitionError, OpenJobsLimitError
from training.requests import refusals


def action_error(error: JobTransitionError) -> ApiError:
    """Return the error of the API for an action that the job's state, a limit or a budget rules out."""
    match error:
        case OpenJobsLimitError():
            return TooManyJobs(param=None, limit=error.limit)
        case JobBudgetError():
            return budget_error(error.shortage)
        case _:
            action = error.action.past_participle
            return InvalidJobState(job_id=error.job_id, action=action, state=error.state)


def publication_error(error: CheckpointRefusedError, checkpoint_id: str) -> ApiError:
    """Return the error of the API for a checkpoint that can't be published, or not yet."""
    if isinstance(error.obstacle, refusals.TooManyJobs):
        return TooManyJobs(param=None, limit=error.obstacle.limit)
    return CheckpointNotPublishable(checkpoint_id=checkpoint_id, reason=error.reason)


def budget_error(shortage: refusals.BudgetShortage) -> InsufficientQuota:
    """Return the error of the API for a budget that doesn't cover a job."""
    return InsufficientQuota(
        subject=shortage.subject,
        limit_name=shortage.limit_name,
        limit=shortage.limit,
        used=shortage.used,
        requested=f"up to {shortage.cost}",
        advice=shortage.advice,
        headers=retry_after(shortage.renewal_s),
    )
