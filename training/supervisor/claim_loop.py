"""The loop of a training worker: claim a job, run it, until none is left."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable

from django.conf import settings

from training.engine.control import now
from training.queue.claim import job_claim
from training.supervisor.attempt import AttemptRun
from training.supervisor.celery_signals import DRAINING
from training.supervisor.retention import expired_job_folders_remove

logger = logging.getLogger("cyllm.training")


def work_until_idle(worker_class: str, *, worker_id: str, on_claim: Callable[[], None] = lambda: None) -> int:
    """Run jobs one after the other. Returns their number. ``on_claim`` is called before each one runs."""
    base_models = list(settings.CYLLM.training_models)
    if not base_models:
        logger.warning("CYLLM_TRAINING_MODELS is empty: this worker can't run any job")
        return 0
    count = 0
    while not DRAINING.is_set():
        expired_job_folders_remove()
        claimed_at = now()
        claim = job_claim(
            worker_class=worker_class, worker_id=f"{worker_id}-{os.getpid()}"[:128], base_models=base_models
        )
        if claim is None:
            break
        on_claim()
        AttemptRun(claim, claimed_at=claimed_at).run()
        count += 1
    return count
