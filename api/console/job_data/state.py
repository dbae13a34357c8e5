"""The state of a job as the console shows it: label, colour, reason and progress."""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import dataclass

from django.utils import timezone
from django.utils.translation import gettext

from training.choices import JobAction, JobPhase, JobStatus, RequestedAction
from training.jobs.services import RESUMABLE_FAILURES
from training.models import FineTuningJob

TONES = {
    JobStatus.RUNNING: "info",
    JobStatus.PAUSED: "warn",
    JobStatus.SUCCEEDED: "good",
    JobStatus.FAILED: "bad",
}
WAITING = (JobStatus.VALIDATING_FILES, JobStatus.QUEUED)


@dataclass(frozen=True, slots=True)
class JobState:
    """The state as a word, its reason, progress and possible actions.

    ``percent`` is below 100 until the job has succeeded. ``tone``: colour of the badge, a class of the style
    sheet.
    """

    word: str
    tone: str
    reason: str
    percent: int
    actions: tuple[str, ...]

    @property
    def is_open(self) -> bool:
        """True if the job can still change by itself."""
        return JobAction.CANCEL in self.actions


def job_state(job: FineTuningJob, place: int | None = None) -> JobState:
    """Return the state of a job; ``place`` is its position in the queue."""
    status = JobStatus(job.status)
    return JobState(
        word=str(status.label),
        tone=TONES.get(status, ""),
        reason=_reason(job, status, place),
        percent=_percent(job, status),
        actions=tuple(_actions(job, status)),
    )


def eta_s(job: FineTuningJob) -> float | None:
    """Return the seconds until the estimated end of a job's training, None if it doesn't train."""
    is_training = job.status == JobStatus.RUNNING and job.phase == JobPhase.TRAINING
    if not is_training or job.estimated_finish is None:
        return None
    return max(0.0, (job.estimated_finish - timezone.now()).total_seconds())


def _percent(job: FineTuningJob, status: JobStatus) -> int:
    if status == JobStatus.SUCCEEDED:
        return 100
    return min(99, math.floor(100 * job.step / job.total_steps)) if job.total_steps else 0


def _actions(job: FineTuningJob, status: JobStatus) -> list[str]:
    if job.requested_action == RequestedAction.CANCEL:
        return []
    if status == JobStatus.PAUSED or job.requested_action == RequestedAction.PAUSE:
        return [JobAction.RESUME, JobAction.CANCEL]
    if status in (*WAITING, JobStatus.RUNNING):
        return [JobAction.PAUSE, JobAction.CANCEL]
    if status == JobStatus.FAILED and job.error_code in RESUMABLE_FAILURES:
        return [JobAction.RESUME]
    return []


def _reason(job: FineTuningJob, status: JobStatus, place: int | None) -> str:
    if status == JobStatus.FAILED:
        return job.error_message
    if job.requested_action == RequestedAction.CANCEL:
        return gettext("It ends within a step.")
    if job.requested_action == RequestedAction.PAUSE:
        return gettext("It saves a checkpoint, then pauses.")
    if status == JobStatus.RUNNING or job.phase:
        return str(job.get_phase_display()) if job.phase else ""
    if status == JobStatus.QUEUED:
        return _queue_reason(job, place)
    if status == JobStatus.VALIDATING_FILES:
        return gettext("A training worker checks the files.")
    if status == JobStatus.PAUSED and not job.attempt_count:
        return gettext("It starts once you resume it.")
    if status == JobStatus.PAUSED:
        return gettext("It continues from its last checkpoint once you resume it.")
    return ""


def _queue_reason(job: FineTuningJob, place: int | None) -> str:
    if job.not_before and job.not_before > timezone.now():
        wait: dt.timedelta = job.not_before - timezone.now()
        return gettext("It tries again in %(n)d s.") % {"n": math.ceil(wait.total_seconds())}
    if place is None:
        return gettext("It waits until another job of the tenant ends, or the tenant is active again.")
    if place == 1:
        return gettext("Next in the queue: it waits for a free worker of the class “%(name)s”.") % {
            "name": job.worker_class
        }
    return gettext("Place %(n)d in the queue of the worker class “%(name)s”.") % {
        "n": place,
        "name": job.worker_class,
    }
