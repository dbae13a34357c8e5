"""Long periodic tasks run one at a time, so one process is free for the short ones, and in paced batches."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from contextlib import closing, contextmanager
from types import SimpleNamespace

import pytest
from celery.exceptions import Retry
from django.db import connection
from django.utils import timezone

from tenants import long_tasks, tasks
from tenants.audit_trail.models import TrailCheck
from tenants.long_tasks import long_task_lock, one_at_a_time, paced_batches
from tenants.models import AuditRecord

pytestmark = pytest.mark.django_db


@contextmanager
def another_process_at_work() -> Iterator[None]:
    """Hold the lock in a second session, which ends without releasing it."""
    with closing(connection.copy()) as session:
        with session.cursor() as cursor:
            cursor.execute("SELECT pg_try_advisory_lock(%s)", [0x63796C6F])
            assert cursor.fetchone() == (True,)
        yield
    # The server releases the lock a moment after the end of the session.
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", [0x63796C6F])
        cursor.execute("SELECT pg_advisory_unlock(%s)", [0x63796C6F])


def test_a_check_and_a_purge_wait_for_each_other() -> None:
    old = timezone.now() - dt.timedelta(days=400)
    AuditRecord.objects.create(request_id="r", status=200, outcome="completed", duration_s=0.1, at=old)
    with another_process_at_work():
        for task in (tasks.audit_purge_task, tasks.audit_check_task):
            with pytest.raises(Retry):
                task()
        assert (AuditRecord.objects.count(), TrailCheck.objects.count()) == (1, 0)
        assert tasks.audit_seal_task() == 1  # a short one runs meanwhile
    assert tasks.audit_purge_task() == 1
    assert tasks.audit_check_task() == 0


def test_a_waiting_task_is_sent_again_in_a_minute() -> None:
    delays = []

    class Task:
        def retry(self, *, countdown: int) -> Exception:
            delays.append(countdown)
            return Retry()

    with another_process_at_work(), pytest.raises(Retry):
        one_at_a_time(lambda: 1)(Task())
    assert delays == [60]


def test_a_task_that_fails_releases_the_lock() -> None:
    def fail() -> int:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        one_at_a_time(fail)(None)
    with closing(connection.copy()) as session, session.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", [0x63796C6F])
        assert cursor.fetchone() == (True,)


def test_an_outage_postpones_the_task(caplog: pytest.LogCaptureFixture) -> None:
    def work() -> int:
        with connection.copy().cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")
        return 1

    assert one_at_a_time(work)(None) == 0
    assert "work postponed to the next run: OperationalError" in caplog.text
    with long_task_lock() as is_free:
        assert is_free


def test_a_batch_is_followed_by_a_pause_three_times_as_long(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s, pauses, counts = [0.0], list[float](), [5, 7, 0]

    def work() -> int:
        now_s[0] += 2.0
        return counts.pop(0)

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        now_s[0] += seconds

    clock = SimpleNamespace(monotonic=lambda: now_s[0], sleep=sleep)
    monkeypatch.setattr(long_tasks, "time", clock)
    assert paced_batches(work) == 12
    assert pauses == [6.0, 6.0]
