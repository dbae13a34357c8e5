"""Requests to running jobs to give way, to a more urgent job or because their tenant is inactive."""

from __future__ import annotations

from datetime import timedelta

from django.db import transaction
from django.db.models import QuerySet

from training.choices import AttemptOutcome, JobPhase, JobStatus, RequestedAction
from training.clock import database_now
from training.jobs.events import event_add
from training.models import FineTuningJob, JobAttempt, TrainingPolicy
from training.queue.claim import jobs_in_order

PREEMPTION_WAIT_S = 10.0
PREEMPTIBLE_PHASES = (JobPhase.PREPARING, JobPhase.TRAINING, JobPhase.EVALUATING)


@transaction.atomic
def preemption_request(worker_class: str, *, wait_s: float = PREEMPTION_WAIT_S) -> str | None:
    """Ask a running job to give way to a waiting one; returns its id.

    The waiting job must have waited longer than a free worker would take to claim it, have a higher
    priority, and a base model that the running one's worker can train. The running job with the lowest
    priority stops, of equal ones the one claimed last. A tenant's policy can exclude its jobs. One job at a
    time gives way in each class.
    """
    running = FineTuningJob.objects.filter(worker_class=worker_class, status=JobStatus.RUNNING)
    if running.filter(requested_action=RequestedAction.PREEMPT).exists():
        return None
    waiting = jobs_in_order(worker_class).filter(queued_at__isnull=False)
    base_models = waiting.order_by().values_list("base_model", flat=True).distinct()
    firsts = (waiting.filter(base_model=base_model).first() for base_model in base_models)
    for first in sorted(filter(None, firsts), key=lambda job: -job.priority):
        if _has_waited(first, wait_s) and (job := _least_urgent(running, first)):
            _request_stop(job, "A job of higher priority is waiting: this job saves a checkpoint and stops")
            return job.id
    return None


def _has_waited(waiting: FineTuningJob, wait_s: float) -> bool:
    since = max(filter(None, (waiting.queued_at, waiting.not_before)))
    return database_now() - since >= timedelta(seconds=wait_s)


def _least_urgent(running: QuerySet[FineTuningJob], waiting: FineTuningJob) -> FineTuningJob | None:
    """Return the job that gives way, with its row locked, or None."""
    capable_attempts = JobAttempt.objects.filter(
        outcome=AttemptOutcome.RUNNING, base_models__contains=[waiting.base_model]
    )
    return (
        running.filter(requested_action=RequestedAction.NONE, phase__in=PREEMPTIBLE_PHASES)
        .filter(priority__lt=waiting.priority, id__in=capable_attempts.values("job"))
        .exclude(tenant__in=TrainingPolicy.objects.filter(allows_preemption=False).values("tenant"))
        .order_by("priority", "-claimed_at", "id")
        .select_for_update(skip_locked=True, of=("self",))
        .first()
    )


@transaction.atomic
def inactive_tenants_jobs_stop() -> int:
    """Ask the running jobs of inactive tenants to stop; returns their number.

    They save a checkpoint and wait in the queue until the tenant is active again. Those whose results are
    being verified stop as well; a later attempt publishes these results.
    """
    running = FineTuningJob.objects.filter(status=JobStatus.RUNNING, tenant__active=False)
    stoppable = running.filter(requested_action=RequestedAction.NONE)
    jobs = list(stoppable.select_for_update(skip_locked=True, of=("self",)))
    for job in jobs:
        _request_stop(job, "The tenant is not active: this job stops after saving a checkpoint")
    return len(jobs)


def _request_stop(job: FineTuningJob, message: str) -> None:
    job.requested_action = RequestedAction.PREEMPT
    job.save(update_fields=["requested_action"])
    event_add(job, message)
