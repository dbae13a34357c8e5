"""Celery tasks of fine-tuning."""

from __future__ import annotations

import datetime as dt
from typing import Any

from celery import shared_task
from django.conf import settings

from tenants.long_tasks import one_at_a_time
from tenants.outages import postponed_on_outage
from training.clock import database_now
from training.jobs.doorbells import VALIDATION_TASK, WORK_TASK, queue_name
from training.jobs.event_retention import events_purge
from training.publishing.archives import archives_sweep
from training.queue.sweep import jobs_sweep
from training.supervisor.file_validation import waiting_jobs_validate
from training.supervisor.retention import expired_job_folders_remove
from training.supervisor.runner import RUNNER

FOLDERS_EXPIRY_S = 1800


@shared_task(name=WORK_TASK, bind=True, ignore_result=True)
def work_task(task: Any, worker_class: str) -> None:
    """Have the training worker claim and run jobs of a class until none is left."""
    RUNNER.ring(worker_class, str(task.request.hostname))


@shared_task(name=VALIDATION_TASK, ignore_result=True)
@postponed_on_outage
def jobs_validate_task() -> int:
    """Validate the files of waiting jobs. The sweep rings again after an outage."""
    return waiting_jobs_validate()


@shared_task(ignore_result=True)
@postponed_on_outage
def jobs_sweep_task() -> int:
    """Sweep the queue."""
    return jobs_sweep()


@shared_task(ignore_result=True)
def job_folders_ring_task() -> None:
    """Ask the training workers to remove the folders of jobs that ended long ago."""
    for worker_class in settings.CYLLM.training_worker_classes:
        job_folders_task.apply_async(queue=queue_name(worker_class), expires=FOLDERS_EXPIRY_S)


@shared_task(ignore_result=True)
@postponed_on_outage
def artifacts_sweep_task() -> int:
    """Delete archives that no adapter has."""
    return archives_sweep()


@shared_task(bind=True, ignore_result=True, max_retries=None)
@one_at_a_time
def job_events_purge_task() -> int:
    """Delete the events of jobs that ended longer ago than the retention."""
    before = database_now() - dt.timedelta(days=settings.CYLLM.training_event_days)
    return events_purge(before=before, actor="system:job-event-purge")


@shared_task(ignore_result=True)
@postponed_on_outage
def job_folders_task() -> int:
    """Remove the folders of jobs that ended long ago."""
    return expired_job_folders_remove()
