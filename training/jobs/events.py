"""Events of jobs, written in the transaction of the change that they report."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from django.conf import settings
from django.db import transaction

from inference_worker.transport import changes
from training.choices import EventLevel, EventType
from training.models import FineTuningJob, JobEvent

logger = logging.getLogger("cyllm.training")

LOG_LEVELS = {
    EventLevel.INFO: logging.INFO,
    EventLevel.WARN: logging.WARNING,
    EventLevel.ERROR: logging.ERROR,
}


def event_add(
    job: FineTuningJob,
    message: str,
    *,
    level: EventLevel = EventLevel.INFO,
    kind: EventType = EventType.MESSAGE,
    data: Mapping[str, object] | None = None,
) -> JobEvent:
    """Append an event to a job whose row the caller has locked; on commit, notify the gateways.

    Raises TransactionManagementError outside a transaction.
    """
    if not transaction.get_connection().in_atomic_block:
        raise transaction.TransactionManagementError("events require a transaction")
    event = JobEvent.objects.create(
        job=job, number=job.next_event, level=level, type=kind, message=message, data=dict(data or {})
    )
    job.next_event += 1
    job.save(update_fields=["next_event"])
    if kind != EventType.METRICS:
        logger.log(LOG_LEVELS[level], "%s: %s", job.id, message)
    job_publish(job.id)
    return event


def job_publish(job_id: str) -> None:
    """On commit, notify the gateways that a job has changed: once, however often it is called."""
    publication = _Publication(job_id)
    if all(callback != publication for _, callback, *_ in transaction.get_connection().run_on_commit):
        transaction.on_commit(publication)


@dataclass(frozen=True, slots=True)
class _Publication:
    """A notification, equal to others about the same job."""

    job_id: str

    def __call__(self) -> None:
        changes.publish(settings.CYLLM.redis_url, changes.job_changed(self.job_id))
