"""Long periodic tasks: one at a time, so that other processes run the short ones, and in paced batches."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from django.db import InterfaceError, OperationalError, connection

from tenants.outages import postponed_on_outage

RETRY_S = 60
PAUSE_PER_BATCH = 3.0  # of its duration
_LOCK = 0x63796C6F  # an arbitrary key for pg_try_advisory_lock


@contextmanager
def long_task_lock() -> Iterator[bool]:
    """Hold the lock of long tasks if it is free; yield whether it was.

    The lock belongs to the session, because the tasks consist of many transactions. It ends with the
    connection at the latest.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", [_LOCK])
        is_free: bool = cursor.fetchone()[0]
    try:
        yield is_free
    finally:
        if is_free:
            with suppress(OperationalError, InterfaceError), connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_unlock(%s)", [_LOCK])


def one_at_a_time(work: Callable[[], int]) -> Callable[[Any], int]:
    """Decorate the work of a bound task: while another long task runs, Celery sends it again in a minute.

    An outage postpones it to the next run.
    """

    @postponed_on_outage
    @functools.wraps(work)
    def run(task: Any) -> int:
        with long_task_lock() as is_free:
            if is_free:
                return work()
        raise task.retry(countdown=RETRY_S)

    return run


def paced_batches(work: Callable[[], int]) -> int:
    """Run a batch of work until it returns 0, and return the sum.

    After each batch, processor and disk are left to others for ``PAUSE_PER_BATCH`` times as long as it took.
    """
    count = 0
    start = time.monotonic()
    while batch_count := work():
        count += batch_count
        time.sleep(PAUSE_PER_BATCH * (time.monotonic() - start))
        start = time.monotonic()
    return count
