"""The Celery application. Tasks only trigger work; its state is in Postgres or in the stream of facts."""

from __future__ import annotations

import logging.config
import os
from typing import Any

from celery import Celery
from celery.signals import setup_logging

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "cyllm_site.settings.base")

from django.conf import settings

app = Celery("cyllm")
app.conf.update(
    broker_url=settings.CYLLM.redis_url,
    # No results are read, and a lost tick is followed by the next one.
    task_ignore_result=True,
    task_acks_late=False,
    worker_prefetch_multiplier=1,
    worker_hijack_root_logger=False,
    worker_cancel_long_running_tasks_on_connection_loss=False,
    broker_connection_retry=True,
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    broker_transport_options={"socket_keepalive": True, "health_check_interval": 10},
    timezone="UTC",
    beat_schedule={
        # A tick that waited longer than its interval is redundant, so it expires.
        "drain": {"task": "tenants.tasks.ledger_drain_task", "schedule": 1.0, "options": {"expires": 5}},
        "sweep": {"task": "tenants.tasks.ledger_sweep_task", "schedule": 5.0, "options": {"expires": 10}},
        "sweep-responses": {
            "task": "api.stored_responses.tasks.responses_sweep_task",
            "schedule": 5.0,
            "options": {"expires": 10},
        },
        "purge-responses": {
            "task": "api.stored_responses.tasks.responses_purge_task",
            "schedule": 3600.0,
            "options": {"expires": 1800},
        },
        "purge": {"task": "tenants.tasks.audit_purge_task", "schedule": 3600.0, "options": {"expires": 1800}},
    },
    beat_max_loop_interval=1,
)
app.autodiscover_tasks()


@setup_logging.connect
def _configure_logging(**_: Any) -> None:
    logging.config.dictConfig(settings.LOGGING)
