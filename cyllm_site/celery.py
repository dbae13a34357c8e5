"""The Celery application. Tasks only trigger work; its state is in Postgres or in the stream of facts."""

from __future__ import annotations

import logging.config
import os
import sys
from typing import Any
from urllib.parse import urlsplit

import celery.apps.worker
from celery import Celery
from celery.signals import setup_logging, task_failure, task_prerun

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "cyllm_site.settings.base")

from django.conf import settings
from django.db import close_old_connections

from cyllm_site.steady_schedule import SteadySchedule
from inference_worker.telemetry.masking import trace_without_messages

logger = logging.getLogger("celery.signals")


def _tick(task: str, *, every_s: float, expires_s: float) -> dict[str, Any]:
    """Return a periodic task. A tick that waited for ``expires_s`` is dropped, as later ones do its work."""
    return {"task": task, "schedule": SteadySchedule(every_s), "options": {"expires": expires_s}}


app = Celery("cyllm")
app.conf.update(
    broker_url=settings.CYLLM.broker_url or settings.CYLLM.redis_url,
    # No results are read, and a lost tick is followed by the next one.
    task_ignore_result=True,
    task_acks_late=False,
    worker_prefetch_multiplier=1,
    worker_hijack_root_logger=False,
    worker_cancel_long_running_tasks_on_connection_loss=False,
    broker_connection_retry=True,
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    broker_transport_options=(
        {"confirm_publish": True}
        if urlsplit(settings.CYLLM.broker_url).scheme in {"amqp", "amqps"}
        else {
            "socket_keepalive": True,
            "health_check_interval": 10,
            # One list per priority, read from the most urgent one.
            "priority_steps": list(range(10)),
            "queue_order_strategy": "priority",
        }
    ),
    task_queue_max_priority=9,  # RabbitMQ's x-max-priority; Redis has priority_steps
    timezone="UTC",
    beat_schedule={
        "drain": _tick("tenants.tasks.ledger_drain_task", every_s=1, expires_s=5),
        "sweep": _tick("tenants.tasks.ledger_sweep_task", every_s=5, expires_s=10),
        "sweep-quotas": _tick("tenants.tasks.quota_sweep_task", every_s=2, expires_s=5),
        "verify-quotas": _tick("tenants.tasks.quota_verify_task", every_s=30, expires_s=30),
        "sweep-responses": _tick("api.stored_responses.tasks.responses_sweep_task", every_s=5, expires_s=10),
        "sweep-streams": _tick("cyllm_site.tasks.lost_logs_task", every_s=2, expires_s=5),
        "purge-responses": _tick(
            "api.stored_responses.tasks.responses_purge_task", every_s=3600, expires_s=1800
        ),
        "sweep-jobs": _tick("training.tasks.jobs_sweep_task", every_s=5, expires_s=10),
        "remove-job-folders": _tick("training.tasks.job_folders_ring_task", every_s=3600, expires_s=1800),
        "purge-job-events": _tick("training.tasks.job_events_purge_task", every_s=3600, expires_s=1800),
        "sweep-artifacts": _tick("training.tasks.artifacts_sweep_task", every_s=3600, expires_s=1800),
        "sweep-files": _tick("tenants.files.tasks.files_sweep_task", every_s=60, expires_s=30),
        "seal": _tick("tenants.tasks.audit_seal_task", every_s=30, expires_s=30),
        # It waits for purges, which may take hours.
        "check-audit": _tick("tenants.tasks.audit_check_task", every_s=86400, expires_s=43200),
        "purge": _tick("tenants.tasks.audit_purge_task", every_s=3600, expires_s=1800),
    },
    beat_max_loop_interval=1,
    # Celery would connect anew for every task, which costs more than most of them. Before each, Django closes
    # a connection that is too old or broken.
    CELERY_DB_REUSE_MAX=sys.maxsize,
)
app.autodiscover_tasks()


@task_prerun.connect
def _close_old_connections(**_: Any) -> None:
    close_old_connections()


@setup_logging.connect
def _configure_logging(**_: Any) -> None:
    logging.config.dictConfig(settings.LOGGING)
    # Celery's signal handlers write to the output themselves and would block on a full pipe.
    celery.apps.worker.safe_say = _log_signal  # type: ignore[attr-defined]  # missing in the stubs


@task_failure.connect
def _log_failure(sender: Any, exception: BaseException, **_: Any) -> None:
    """Log a failed task instead of Celery, which quotes the messages of errors."""
    logger.error("%s failed", sender.name, extra={"trace": trace_without_messages(exception)})


def _log_signal(message: str, _file: object = None) -> None:
    logger.info("%s", message)
