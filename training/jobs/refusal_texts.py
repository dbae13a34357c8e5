"""Refused actions on jobs as texts for people, in the current language."""

from __future__ import annotations

from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from training.choices import JobAction, JobStatus, RequestedAction
from training.jobs.transition_errors import (
    BaseModelMissingError,
    JobBudgetError,
    JobFileMissingError,
    JobTransitionError,
    OpenJobsLimitError,
    OtherPublicationError,
)

STATE_TEXTS = {
    JobAction.CANCEL: _("The job %(job)s can't be cancelled. Its state: %(state)s."),
    JobAction.PAUSE: _("The job %(job)s can't be paused. Its state: %(state)s."),
    JobAction.RESUME: _("The job %(job)s can't be resumed. Its state: %(state)s."),
}
LIMIT_TEXT = _(
    "The job %(job)s can't be resumed: the tenant's limit of %(limit)d unfinished jobs is reached."
)
FILE_TEXT = _("The job %(job)s can't be resumed: its file %(file)s no longer exists. Create the job again.")
PUBLISHED_TEXT = _("The job %(job)s can't be resumed: the job %(other)s publishes its checkpoint.")
BASE_TEXT = _("The job %(job)s can't be resumed: its base model %(model)s is no longer available.")
BUDGET_TEXT = _(
    "The job %(job)s can't be resumed: it can still cost up to %(cost)s, but %(used)s of the spend "
    "limit of %(limit)s is already spent or reserved."
)
EXCEEDED_BUDGET_TEXT = _(
    "The job %(job)s can't be resumed: it can still cost up to %(cost)s, more than the whole spend limit of "
    "%(limit)s. Raise the limit first."
)


def refusal_text(error: JobTransitionError) -> str:
    """Return the explanation of a refused action."""
    match error:
        case OpenJobsLimitError():
            return str(LIMIT_TEXT) % {"job": error.job_id, "limit": error.limit}
        case JobFileMissingError():
            return str(FILE_TEXT) % {"job": error.job_id, "file": error.file_id}
        case BaseModelMissingError():
            return str(BASE_TEXT) % {"job": error.job_id, "model": error.base_model}
        case OtherPublicationError():
            return str(PUBLISHED_TEXT) % {"job": error.job_id, "other": error.publication_id}
        case JobBudgetError(shortage=shortage):
            amounts = {"cost": shortage.cost, "limit": shortage.limit, "used": shortage.used}
            text = EXCEEDED_BUDGET_TEXT if shortage.is_permanent else BUDGET_TEXT
            return str(text) % {"job": error.job_id, **amounts}
    is_cancelling = error.requested_action == RequestedAction.CANCEL
    state = gettext("being cancelled") if is_cancelling else str(JobStatus(error.status).label)
    return str(STATE_TEXTS[error.action]) % {"job": error.job_id, "state": state}
