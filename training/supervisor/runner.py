"""Runs jobs in a thread of its own, so that a doorbell is acknowledged at once and not after hours.

Celery takes a message ahead of the one that runs, and RabbitMQ disconnects consumers that leave one
unacknowledged for 30 minutes. While a job runs, the worker doesn't consume: others get the doorbells.
"""

from __future__ import annotations

import logging
import threading
from typing import Any

from celery.signals import worker_ready, worker_shutdown
from django.db import connections

from tenants.outages import is_outage
from training.jobs.doorbells import queue_name
from training.supervisor.celery_signals import DRAINING
from training.supervisor.claim_loop import work_until_idle
from training.supervisor.orphans import orphans_end

logger = logging.getLogger("cyllm.training")


class JobRunner:
    """The runner of one training worker. Any thread may call its methods."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pending_classes: dict[str, str] = {}
        self._thread: threading.Thread | None = None
        self._is_busy = False
        self._consumer: Any = None
        self._queues: tuple[str, ...] = ()

    def attach(self, consumer: Any) -> None:
        """Control the consumption of the training queues by Celery's consumer, also after it reconnects."""
        if not self._queues:
            names = consumer.app.amqp.queues.consume_from
            self._queues = tuple(name for name in names if name.startswith(queue_name("")))
        self._consumer = consumer
        self._schedule_update()

    def ring(self, worker_class: str, worker_id: str) -> None:
        """Run the jobs of a class in the thread. Without a consumer, run them here."""
        if self._consumer is None:  # a pool of processes
            work_until_idle(worker_class, worker_id=worker_id)
            return
        with self._lock:
            self._pending_classes[worker_class] = worker_id
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="jobs")
                self._thread.start()

    def join(self) -> None:
        """Wait for the end of the thread, which drains."""
        if (thread := self._thread) is not None:
            thread.join()

    def _run(self) -> None:
        try:
            while (pending := self._next()) is not None:
                worker_class, worker_id = pending
                try:
                    work_until_idle(worker_class, worker_id=worker_id, on_claim=self._become_busy)
                except Exception as error:
                    reason = type(error).__name__
                    logger.warning(
                        "no job claimed, the sweep rings again: %s", reason, exc_info=not is_outage(error)
                    )
                    connections.close_all()
        finally:
            connections.close_all()

    def _next(self) -> tuple[str, str] | None:
        """Return the next class that has rung, None after the end of the thread has been announced."""
        with self._lock:
            if self._pending_classes and not DRAINING.is_set():
                return self._pending_classes.popitem()
            self._thread, self._is_busy = None, False
        self._schedule_update()
        return None

    def _become_busy(self) -> None:
        if not self._is_busy:
            self._is_busy = True
            self._schedule_update()

    def _schedule_update(self) -> None:
        if not DRAINING.is_set():
            # In the consumer's thread, without any order: so the update reads the state when it runs.
            self._consumer.call_soon(self._update_consumption)

    def _update_consumption(self) -> None:
        for name in self._queues:
            is_consuming = name in self._consumer.app.amqp.queues.consume_from
            if self._is_busy and is_consuming:
                self._consumer.cancel_task_queue(name)
            elif not self._is_busy and not is_consuming:
                self._consumer.add_task_queue(name)


RUNNER = JobRunner()


@worker_ready.connect(weak=False)
def attach_runner(sender: Any, **_: Any) -> None:
    """Attach the runner to a training worker, and kill trainers that a dead worker left on this host."""
    if any(name.startswith(queue_name("")) for name in sender.app.amqp.queues.consume_from):
        orphans_end()
        RUNNER.attach(sender)


@worker_shutdown.connect(weak=False)
def drain_runner(**_: Any) -> None:
    """Wait for the running job, which saves and stops."""
    DRAINING.set()
    RUNNER.join()
