"""Leases and delays when clocks are set back or forward: the database's, and that of a training worker."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from tests.people import Cast
from tests.training.queue.claims.test_claim_order import claim, queued
from training.choices import AttemptOutcome
from training.engine.control import now
from training.jobs.failures import Failure
from training.jobs.services import job_cancel
from training.models import FineTuningJob, JobAttempt
from training.queue.attempts import AttemptFencedError, attempt_write, lease_renew
from training.queue.claim import Claim
from training.queue.endings import BACKOFF_MAX_S, attempt_fail
from training.queue.sweep import jobs_sweep
from training.supervisor.folders import job_folder
from training.supervisor.retention import expired_job_folders_remove

pytestmark = pytest.mark.django_db
LEASE_S = 30.0
SetClock = Callable[[dt.timedelta], None]


@pytest.fixture(autouse=True)
def _servers(cast: Cast, redis_url: str, settings: Any, tmp_path: Path) -> None:
    """Tenants, a broker and a folder."""
    changes = {"training_lease_s": LEASE_S, "training_dir": tmp_path, "training_retention_h": 1.0}
    settings.CYLLM = settings.CYLLM.model_copy(update=changes)


@pytest.fixture
def set_clock() -> SetClock:
    """Sets the clock of this session's database forward, or back with a negative time."""
    with connection.cursor() as cursor:
        cursor.execute("CREATE SCHEMA test_clock")
        for name in ("clock_timestamp", "statement_timestamp"):
            cursor.execute(
                f"CREATE FUNCTION test_clock.{name}() RETURNS timestamptz LANGUAGE sql VOLATILE AS "
                f"$$ SELECT pg_catalog.{name}() + current_setting('test.shift')::interval $$"
            )
        cursor.execute("SET LOCAL test.shift = '0'")
        cursor.execute("SET LOCAL search_path = test_clock, pg_catalog, public")

    def set_offset(offset: dt.timedelta) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT set_config('test.shift', %s, true)", [f"{offset.total_seconds()} s"])

    return set_offset


def claimed(cast: Cast) -> Claim:
    """Return the claim of a new job."""
    queued(cast.acme)
    result = claim()
    assert result is not None
    return result


def test_a_dead_worker_is_noticed_although_the_clock_was_set_back(cast: Cast, set_clock: SetClock) -> None:
    job = claimed(cast)
    set_clock(dt.timedelta(hours=-5))
    assert jobs_sweep() == 0
    set_clock(dt.timedelta(hours=-5, seconds=LEASE_S * 1.6))
    assert jobs_sweep() == 1
    assert JobAttempt.objects.get(id=job.token).outcome == AttemptOutcome.LOST


def test_a_live_worker_keeps_its_attempt_when_the_clock_is_set_back(cast: Cast, set_clock: SetClock) -> None:
    token = claimed(cast).token
    set_clock(dt.timedelta(hours=-5))
    lease_renew(token)
    set_clock(dt.timedelta(hours=-5, seconds=LEASE_S / 3))
    assert jobs_sweep() == 0
    lease_renew(token)
    set_clock(dt.timedelta(hours=-5, seconds=LEASE_S))
    assert jobs_sweep() == 0
    with attempt_write(token) as locked_attempt:
        assert locked_attempt.attempt.outcome == AttemptOutcome.RUNNING


def test_no_attempt_runs_beside_one_whose_lease_a_clock_set_forward_has_ended(
    cast: Cast, set_clock: SetClock
) -> None:
    first = claimed(cast)
    set_clock(dt.timedelta(hours=5))
    with pytest.raises(AttemptFencedError):
        lease_renew(first.token)
    assert claim() is None
    assert jobs_sweep() == 1
    set_clock(dt.timedelta(hours=5, minutes=5))
    second = claim()
    assert second is not None
    assert (second.job_id, second.number) == (first.job_id, 2)
    with pytest.raises(AttemptFencedError), attempt_write(first.token):
        pass


def test_a_failed_job_is_tried_again_although_the_clock_was_set_back(cast: Cast, set_clock: SetClock) -> None:
    attempt_fail(claimed(cast).token, Failure(code="worker_lost", message="It is lost.", is_transient=True))
    set_clock(dt.timedelta(days=-1))
    jobs_sweep()
    set_clock(dt.timedelta(days=-1, seconds=BACKOFF_MAX_S + 1))
    assert claim() is not None


def test_a_workers_own_clock_ends_no_lease_and_deletes_no_checkpoints(
    cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    started_at, job = now(), queued(cast.acme)
    job_cancel(job_id=job.id, actor="tests")
    folder = job_folder(job.id).path
    tomorrow = timezone.now() + dt.timedelta(days=1)
    monkeypatch.setattr("time.time", tomorrow.timestamp)
    monkeypatch.setattr(timezone, "now", lambda: tomorrow)
    assert now() - started_at < LEASE_S
    assert expired_job_folders_remove() == 0
    assert folder.is_dir()
    FineTuningJob.objects.update(finished_at=tomorrow - dt.timedelta(days=1, hours=2))
    assert expired_job_folders_remove() == 1
