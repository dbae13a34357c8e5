"""Doorbells: Celery messages that tell training workers that there is work.

They carry no job. The database decides what is claimed, so lost and duplicated messages are harmless.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Any, cast

from celery import Celery
from django.conf import settings
from django.db import transaction
from django.utils.module_loading import import_string
from kombu import Connection
from kombu.exceptions import ChannelError, OperationalError

logger = logging.getLogger("cyllm.training")

WORK_TASK = "training.tasks.work_task"
VALIDATION_TASK = "training.tasks.jobs_validate_task"
VALIDATION_QUEUE = "validation"  # of the training workers of all classes
MAX_PRIORITY = 9
TIMEOUT_S = 2.0
VALIDATION_EXPIRY_S = 30.0
# A broker that is down must neither delay nor fail the request that created the job: the sweep rings again.
LIMITS = {
    "socket_timeout": TIMEOUT_S,
    "socket_connect_timeout": TIMEOUT_S,
    "max_retries": 1,
    "interval_start": 0.1,
    "interval_max": 0.1,
}
BROKER_ERRORS = (OperationalError, ChannelError, OSError)


def queue_name(worker_class: str) -> str:
    """Return the Celery queue of a worker class."""
    return f"training.{worker_class}"


def ring_on_commit(worker_class: str, priority: int) -> None:
    """Ring when the current transaction commits."""
    transaction.on_commit(partial(ring, worker_class, priority))


def ring(worker_class: str, priority: int, *, unless_pending: bool = False) -> bool:
    """Send a message with the priority of a job, 0 to 9. Log and return False if the broker is down.

    ``unless_pending``: send nothing if the queue already holds a message.
    """

    def message(driver_type: str) -> dict[str, Any]:
        return {
            "kwargs": {"worker_class": worker_class},
            "priority": message_priority(driver_type, priority),
        }

    return _send(WORK_TASK, queue_name(worker_class), message, unless_pending=unless_pending)


def ring_for_validation(*, unless_pending: bool = False) -> bool:
    """Tell a training worker that files of jobs wait for validation, like ``ring``."""
    message = {"expires": VALIDATION_EXPIRY_S}
    return _send(VALIDATION_TASK, VALIDATION_QUEUE, lambda _: message, unless_pending=unless_pending)


def _send(task: str, queue: str, message: Callable[[str], dict[str, Any]], *, unless_pending: bool) -> bool:
    """Send a task with the options that ``message`` returns for the type of the broker's driver."""
    app = _celery_app()
    try:
        with _connection(app) as connection:
            if unless_pending and _pending_messages(connection, queue):
                return True
            options = message(str(connection.transport.driver_type))
            app.send_task(task, queue=queue, connection=connection, retry=False, **options)
    except BROKER_ERRORS as error:
        logger.warning("doorbell of %s not sent, the sweep rings again: %s", queue, type(error).__name__)
        return False
    return True


def message_priority(driver_type: str, priority: int) -> int:
    """Return the Celery priority for the priority of a job. With Redis, 0 is the highest."""
    return MAX_PRIORITY - priority if driver_type == "redis" else priority


def _celery_app() -> Celery:
    return cast("Celery", import_string(settings.CELERY_APP))


def _connection(app: Celery) -> Connection:
    options = {**app.conf.broker_transport_options, **LIMITS}
    return Connection(app.conf.broker_url, connect_timeout=TIMEOUT_S, transport_options=options)


def _pending_messages(connection: Connection, queue: str) -> int:
    channel: Any = connection.default_channel  # its type in the stubs lacks the methods of channels
    try:
        count: int = channel.queue_declare(queue=queue, passive=True).message_count
    except ChannelError:  # no such queue yet
        return 0
    return count
