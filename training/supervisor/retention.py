"""Removal of the folders of jobs that ended long ago."""

from __future__ import annotations

import datetime as dt
import logging
import time

from django.conf import settings

from training.clock import database_now
from training.models import FineTuningJob
from training.supervisor.folders import (
    VALIDATION_PREFIX,
    FolderBusyError,
    folder_changed_at,
    job_folder_names,
    job_folder_remove,
    training_root,
)
from training.temporary_folders import abandoned_folders_delete

logger = logging.getLogger("cyllm.training")


def expired_job_folders_remove() -> int:
    """Remove folders of jobs that ended or disappeared before the retention. Returns their number.

    Folders of killed validations are deleted at once and not counted.
    """
    abandoned_folders_delete(training_root(), VALIDATION_PREFIX)
    retention = dt.timedelta(hours=settings.CYLLM.training_retention_h)
    names = job_folder_names()
    jobs = dict(FineTuningJob.objects.filter(id__in=names).values_list("id", "finished_at"))
    cutoff = database_now() - retention  # a worker whose clock is wrong must not delete checkpoints
    old_names = [name for name in names if (end := _end(name, jobs)) is not None and end < cutoff]
    return sum(map(_remove, old_names))


def _end(name: str, jobs: dict[str, dt.datetime | None]) -> dt.datetime | None:
    """Return when a job ended, or for a deleted job when its folder last changed; None for an open job."""
    if name in jobs:
        return jobs[name]
    return dt.datetime.fromtimestamp(folder_changed_at(name), dt.UTC)


def _remove(name: str) -> bool:
    started_at = time.monotonic()
    try:
        is_removed = job_folder_remove(name)
    except (OSError, FolderBusyError) as error:
        logger.warning("the folder of %s can't be removed: %s", name, error)
        return False
    logger.info("removed the folder of %s in %.1f s", name, time.monotonic() - started_at)
    return is_removed
